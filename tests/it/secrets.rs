//! Symmetric secrets in a real database: who signs, who believes it, before and after a rotation.

use chrono::{TimeDelta, TimeZone as _, Utc};
use sb::clock::Clock;
use sb::config::{Config, Handle, Secret};
use sb::db::{Connection, Listener, Target};
use sb::keys::secrets::{self, Family};
use sb::keys::{Keys, MasterKey, manage};
use sb::lifecycle::Lifecycle;

use crate::scratch::{db, eventually, master, passwords};
use crate::support::fresh_database;

const DATA: &[u8] = b"what is signed";

struct World {
    target: Target,
    owner: Connection,
    clock: Clock,
    lifecycle: Lifecycle,
}

impl World {
    async fn new() -> Self {
        let target = fresh_database().await;
        let world = Self {
            owner: Connection::open(&target).await.unwrap(),
            target,
            clock: Clock::test(Utc.timestamp_opt(1_800_000_000, 0).unwrap()),
            lifecycle: Lifecycle::new(),
        };
        let config = Config::default();
        manage::init(&world.owner, &master(), &config, &world.clock)
            .await
            .unwrap();
        world
    }

    async fn node(&self) -> Keys {
        let auth = self.target.with_user("sb_auth", passwords().auth.expose());
        let listener = Listener::start(auth, &self.lifecycle);
        Keys::open(
            &db(&self.target),
            &listener,
            self.clock.clone(),
            Handle::new(Config::default()),
            master(),
            &self.lifecycle,
        )
        .await
        .unwrap()
    }

    async fn rotate(&self) -> String {
        secrets::rotate(&self.owner, &master(), Family::Links, &self.clock)
            .await
            .unwrap()
    }

    async fn activate(&self, kid: Option<&str>) -> String {
        secrets::activate(&self.owner, Family::Links, kid, &self.clock)
            .await
            .unwrap()
    }
}

fn kid(signature: &str) -> &str {
    signature.split_once('.').unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_is_believed_for_the_same_use_only() {
    let world = World::new().await;
    let node = world.node().await;
    let signature = node.secrets().sign(Family::Links, DATA).unwrap();
    let verify = |family, data, text: &str| node.secrets().verify(family, data, text);
    assert!(verify(Family::Links, DATA, &signature));
    assert!(!verify(Family::OauthState, DATA, &signature));
    assert!(!verify(Family::Links, b"something else", &signature));
    let (kid, mac) = signature.split_once('.').unwrap();
    for forged in [
        String::new(),
        ".".to_owned(),
        kid.to_owned(),
        format!("{kid}."),
        format!("{kid}.{}", &mac[..mac.len() - 2]),
        format!("other.{mac}"),
        format!("{kid}.{mac}="),
        format!("{kid}.{}", mac.replace(char::is_alphanumeric, "A")),
    ] {
        assert!(!verify(Family::Links, DATA, &forged), "{forged}");
    }
}

/// Weak point 30. Leave standby secrets out of `usable_secrets`, and a node that lags refuses what the other signs.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_restarts_nobody_and_drops_nothing() {
    let world = World::new().await;
    let (one, two) = (world.node().await, world.node().await);
    let old = one.secrets().sign(Family::Links, DATA).unwrap();
    let standby = world.rotate().await;
    assert_ne!(standby, kid(&old));
    // A third node, which hears of the reserve and then of nothing more.
    let deaf = Lifecycle::new();
    let third = {
        let auth = world.target.with_user("sb_auth", passwords().auth.expose());
        let listener = Listener::start(auth, &deaf);
        Keys::open(
            &db(&world.target),
            &listener,
            world.clock.clone(),
            Handle::new(Config::default()),
            master(),
            &deaf,
        )
        .await
        .unwrap()
    };
    deaf.stop(std::time::Duration::from_secs(5)).await;
    assert_eq!(world.activate(None).await, standby);
    for node in [&one, &two] {
        let signs_anew = async || {
            let signature = node.secrets().sign(Family::Links, DATA).unwrap();
            kid(&signature) == standby
        };
        eventually("the node signs with the new secret", signs_anew).await;
    }
    let new = one.secrets().sign(Family::Links, DATA).unwrap();
    for node in [&one, &two, &third] {
        for signature in [&old, &new] {
            assert!(node.secrets().verify(Family::Links, DATA, signature));
        }
    }
    // Back again, as if the new one were the wrong one.
    assert_eq!(world.activate(Some(kid(&old))).await, kid(&old));
    assert!(two.secrets().verify(Family::Links, DATA, &new));
    world.activate(Some(&standby)).await;

    let config = Config::default();
    let prune = async || {
        let pruned = secrets::prune(&world.owner, None, (&config, false), &world.clock);
        pruned.await.unwrap()
    };
    assert!(prune().await.is_empty());
    world.clock.advance(TimeDelta::days(2));
    assert_eq!(prune().await, [("links".to_owned(), kid(&old).to_owned())]);
    let refused = async || !two.secrets().verify(Family::Links, DATA, &old);
    eventually("what the old one signed is refused", refused).await;
    assert!(two.secrets().verify(Family::Links, DATA, &new));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_sealed_and_wiped() {
    let world = World::new().await;
    let other =
        MasterKey::from_secret(&Secret::new("another master key, long enough too")).unwrap();
    secrets::rotate(&world.owner, &other, Family::Links, &world.clock)
        .await
        .unwrap_err();
    world.rotate().await;
    world.activate(None).await;
    let config = Config::default();
    let force = (&config, true);
    let pruned = secrets::prune(&world.owner, Some(Family::Links), force, &world.clock);
    assert_eq!(pruned.await.unwrap().len(), 1);
    let sql = "select count(*) filter (where secret is null) as wiped, min(octet_length(secret)) as shortest from auth.secrets";
    let row = world.owner.query_one(sql, &[]).await.unwrap();
    // Version, nonce, 32 bytes and the tag.
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i32>(1)), (1, 61));
    for role in [
        "anon",
        "authenticated",
        "service_role",
        "authenticator",
        "sb_jobs",
    ] {
        let sql = format!("begin; set local role {role}; select from auth.secrets");
        let refused = world.owner.batch_execute(&sql).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501", "{role}");
        world.owner.batch_execute("rollback").await.unwrap();
    }
}
