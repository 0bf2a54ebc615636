//! Keys in a real database: what is published, who follows, what survives.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, TimeZone as _, Utc};
use sb::app::StartError;
use sb::clock::Clock;
use sb::config::{Algorithm, Config, Handle, Secret};
use sb::db::{Connection, Db, Listener, Target};
use sb::keys::manage::{self, ApiKeyKind, Rotation};
use sb::keys::{KeyStatus, Keys, KeysError, MasterKey, dev_keys};
use sb::lifecycle::Lifecycle;
use serde_json::{Map, Value, json};

use crate::scratch::{db, empty_database, eventually, master, passwords};
use crate::support::fresh_database;

struct World {
    target: Target,
    owner: Connection,
    clock: Clock,
    lifecycle: Lifecycle,
    config: Config,
}

impl World {
    async fn new() -> Self {
        let target = fresh_database().await;
        Self {
            owner: Connection::open(&target).await.unwrap(),
            target,
            clock: Clock::test(Utc.timestamp_opt(1_800_000_000, 0).unwrap()),
            lifecycle: Lifecycle::new(),
            config: Config::default(),
        }
    }

    async fn init(&self) -> String {
        manage::init(&self.owner, &master(), &self.config, &self.clock)
            .await
            .unwrap()
    }

    /// A node with connections of its own.
    async fn node(&self) -> Keys {
        let db: Db = db(&self.target);
        let auth = self.target.with_user("sb_auth", passwords().auth.expose());
        let listener = Listener::start(auth, &self.lifecycle);
        let config = Handle::new(self.config.clone());
        Keys::open(
            &db,
            &listener,
            self.clock.clone(),
            config,
            master(),
            &self.lifecycle,
        )
        .await
        .unwrap()
    }

    async fn rotate(&self, rotation: Rotation) -> String {
        manage::rotate(
            &self.owner,
            &master(),
            Algorithm::Es256,
            rotation,
            &self.clock,
        )
        .await
        .unwrap()
    }

    async fn statuses(&self) -> Vec<(String, KeyStatus)> {
        let keys = manage::list(&self.owner).await.unwrap();
        keys.into_iter().map(|key| (key.kid, key.status)).collect()
    }

    /// The key ids PostgREST is given.
    async fn published(&self) -> BTreeSet<String> {
        let sql = "
            select substr(c, length('pgrst.jwt_secret=') + 1)::jsonb as jwks
              from pg_db_role_setting s
              join pg_database d on d.oid = s.setdatabase
              join pg_roles r on r.oid = s.setrole
             cross join unnest(s.setconfig) as c
             where d.datname = current_database()
               and r.rolname = 'authenticator'
               and c like 'pgrst.jwt_secret=%'";
        let jwks: Value = self.owner.query_one(sql, &[]).await.unwrap().get("jwks");
        kids(&jwks)
    }

    fn claims(&self) -> Map<String, Value> {
        let exp = self.clock.now().timestamp() + 60;
        json!({ "role": "anon", "exp": exp })
            .as_object()
            .unwrap()
            .clone()
    }
}

fn kids(jwks: &Value) -> BTreeSet<String> {
    let keys = jwks["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

fn kid_of(token: &str) -> String {
    let header = jsonwebtoken::decode_header(token).unwrap();
    header.kid.unwrap()
}

fn private_key_pem() -> String {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = STANDARD.encode(pair.to_pkcs8v1().unwrap());
    format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
}

fn set_of(kids: &[&str]) -> BTreeSet<String> {
    kids.iter().map(|kid| (*kid).to_owned()).collect()
}

#[tokio::test]
async fn a_key_that_a_node_cannot_open_keeps_no_revocation_from_it() {
    let world = World::new().await;
    world.init().await;
    let (name, kind) = ("web", ApiKeyKind::Secret);
    let key = manage::create_api_key(&world.owner, name, kind, &world.clock)
        .await
        .unwrap();
    let node = world.node().await;
    assert!(node.api_key_role(key.expose()).is_some());
    let other =
        MasterKey::from_secret(&Secret::new("some other master key, made by mistake")).unwrap();
    let (algorithm, now) = (Algorithm::Es256, Rotation::Now);
    manage::rotate(&world.owner, &other, algorithm, now, &world.clock)
        .await
        .unwrap();
    manage::revoke_api_key(&world.owner, name, &world.clock)
        .await
        .unwrap();
    eventually("the key is refused", async || {
        node.api_key_role(key.expose()).is_none()
    })
    .await;
    let token = node.role_token("anon").expect("the node signs as before");
    node.verify(&token).expect("and is believed");
}

#[tokio::test]
async fn another_master_key_is_refused_before_anything_is_derived_from_it() {
    let world = World::new().await;
    let other =
        MasterKey::from_secret(&Secret::new("some other master key, made by mistake")).unwrap();
    manage::check_master(&world.owner, &other)
        .await
        .expect("a database without keys takes any");
    world.init().await;
    manage::check_master(&world.owner, &master()).await.unwrap();
    let refused = manage::check_master(&world.owner, &other).await;
    assert!(matches!(refused, Err(KeysError::Sealed)), "{refused:?}");
    let url = world.target.to_libpq();
    let settings = ("jwt.master_key", "some other master key, made by mistake");
    let config = crate::support::config(&url, &[settings]);
    let verifiers = async || {
        let sql = "
            select string_agg(rolpassword, ' ' order by rolname) as verifiers
              from pg_catalog.pg_authid
             where rolname in ('authenticator', 'sb_auth')";
        let row = world.owner.query_one(sql, &[]).await.unwrap();
        row.get::<_, String>("verifiers")
    };
    let before = verifiers().await;
    let refused = sb::App::new().migrate(&config).await;
    assert!(
        matches!(refused, Err(StartError::Keys(KeysError::Sealed))),
        "{refused:?}"
    );
    assert_eq!(verifiers().await, before, "running nodes still get in");
    let rotate = async |rotation| {
        let algorithm = Algorithm::Es256;
        manage::rotate(&world.owner, &other, algorithm, rotation, &world.clock).await
    };
    let refused = rotate(Rotation::Standby).await;
    assert!(matches!(refused, Err(KeysError::Sealed)), "{refused:?}");
    rotate(Rotation::Now)
        .await
        .expect("the way out when the master key is lost");
    manage::check_master(&world.owner, &other).await.unwrap();
}

#[tokio::test]
async fn the_first_start_makes_one_key_and_publishes_it() {
    let world = World::new().await;
    let kid = world.init().await;
    assert_eq!(world.init().await, kid);
    assert_eq!(world.statuses().await, [(kid.clone(), KeyStatus::Active)]);
    assert_eq!(world.published().await, set_of(&[&kid]));
    let node = world.node().await;
    let sql = "select sb.public_jwks() as jwks";
    let published: Value = world.owner.query_one(sql, &[]).await.unwrap().get("jwks");
    assert_eq!(
        serde_json::from_str::<Value>(&node.jwks()).unwrap(),
        published
    );
    let token = node.sign(&world.claims()).unwrap();
    assert_eq!(node.verify(&token).unwrap(), world.claims());
}

#[tokio::test]
async fn nodes_that_start_at_once_make_one_key() {
    let world = World::new().await;
    let starts = (0..4).map(|_| async {
        let owner = Connection::open(&world.target).await.unwrap();
        manage::init(&owner, &master(), &world.config, &world.clock)
            .await
            .unwrap()
    });
    let kids: BTreeSet<String> = futures_util::future::join_all(starts)
        .await
        .into_iter()
        .collect();
    assert_eq!(kids.len(), 1);
    assert_eq!(world.statuses().await.len(), 1);
}

/// Attack 6. Fails when a node signs with a key before the others publish it, or forgets the previous one.
#[tokio::test]
async fn a_rotation_reaches_every_node_and_drops_no_valid_token() {
    let world = World::new().await;
    let first = world.init().await;
    let (one, other) = (world.node().await, world.node().await);
    let early = one.sign(&world.claims()).unwrap();

    let second = world.rotate(Rotation::Standby).await;
    assert_eq!(world.published().await, set_of(&[&first, &second]));
    eventually("the other node publishes the standby key", async || {
        kids(&serde_json::from_str(&other.jwks()).unwrap()).contains(&second)
    })
    .await;
    assert_eq!(kid_of(&one.sign(&world.claims()).unwrap()), first);

    assert_eq!(
        manage::activate(&world.owner, None, &world.clock)
            .await
            .unwrap(),
        second
    );
    eventually("both nodes sign with the new key", async || {
        for (signer, verifier) in [(&one, &other), (&other, &one)] {
            let token = signer.sign(&world.claims()).unwrap();
            verifier
                .verify(&token)
                .expect("no node signs what another does not accept");
        }
        [&one, &other]
            .iter()
            .all(|node| kid_of(&node.sign(&world.claims()).unwrap()) == second)
    })
    .await;
    assert!(one.verify(&early).is_ok() && other.verify(&early).is_ok());
    assert_eq!(world.published().await, set_of(&[&first, &second]));
}

#[tokio::test]
async fn a_key_made_active_at_once_is_known_to_all_before_it_signs() {
    let world = World::new().await;
    world.init().await;
    let (one, other) = (world.node().await, world.node().await);
    let second = world.rotate(Rotation::Now).await;
    eventually("the new key signs", async || {
        let token = one.sign(&world.claims()).unwrap();
        other
            .verify(&token)
            .expect("no node signs what another does not accept");
        kid_of(&token) == second
    })
    .await;
}

#[tokio::test]
async fn a_failed_activation_leaves_the_active_key_in_place() {
    let world = World::new().await;
    let first = world.init().await;
    let error = manage::activate(&world.owner, Some("unknown"), &world.clock)
        .await
        .unwrap_err();
    assert!(matches!(error, KeysError::NoSuchKey { .. }), "{error}");
    let error = manage::activate(&world.owner, None, &world.clock)
        .await
        .unwrap_err();
    assert!(matches!(error, KeysError::NoStandbyKey), "{error}");
    assert_eq!(world.statuses().await, [(first.clone(), KeyStatus::Active)]);
    manage::activate(&world.owner, Some(&first), &world.clock)
        .await
        .unwrap();
    assert!(matches!(
        manage::revoke(&world.owner, &first).await,
        Err(KeysError::NoSuchKey { .. })
    ));
}

#[tokio::test]
async fn a_previous_key_is_pruned_after_its_last_token_and_never_when_an_api_key_needs_it() {
    let world = World::new().await;
    let issuer = world.config.issuer();
    let pinned = world.init().await;
    let api_key = manage::mint_api_jwt(&world.owner, &master(), &issuer, "anon", &world.clock)
        .await
        .unwrap();
    world.clock.advance(TimeDelta::seconds(1));
    let second = world.rotate(Rotation::Now).await;
    world.clock.advance(TimeDelta::seconds(1));
    let third = world.rotate(Rotation::Now).await;

    let prune = async || {
        manage::prune(&world.owner, &world.config, &world.clock)
            .await
            .unwrap()
    };
    let life = world.config.auth.access_token_ttl + world.config.jwt.rotation_grace_seconds;
    world
        .clock
        .advance(TimeDelta::seconds(i64::try_from(life).unwrap() - 1));
    assert_eq!(prune().await, Vec::<String>::new());
    world.clock.advance(TimeDelta::seconds(1));
    assert_eq!(prune().await, std::slice::from_ref(&second));

    assert_eq!(world.published().await, set_of(&[&pinned, &third]));
    let node = world.node().await;
    let claims = node.verify(api_key.expose()).unwrap();
    assert_eq!(
        (&claims["role"], claims.contains_key("aud")),
        (&json!("anon"), false)
    );
    let sql = "select private_key is null as wiped from auth.signing_keys where kid = $1";
    let row = world.owner.query_one(sql, &[&second]).await.unwrap();
    assert!(row.get::<_, bool>("wiped"));
}

/// Attack 6. Fails when nodes do not follow the table of keys, or keep what they have verified beyond its key.
#[tokio::test]
async fn a_revoked_key_verifies_nowhere_within_moments() {
    let world = World::new().await;
    let first = world.init().await;
    let node = world.node().await;
    let token = node.sign(&world.claims()).unwrap();
    world.rotate(Rotation::Now).await;
    manage::revoke(&world.owner, &first).await.unwrap();
    assert!(!world.published().await.contains(&first));
    eventually("the node refuses the token", async || {
        node.verify(&token).is_err()
    })
    .await;
    assert_ne!(kid_of(&node.sign(&world.claims()).unwrap()), first);
}

#[tokio::test]
async fn a_configured_key_is_imported_once_and_rotates_like_any_other() {
    let mut world = World::new().await;
    world.config.jwt.private_key = Some(Secret::new(private_key_pem()));
    world.config.jwt.kid = Some("mine".to_owned());
    assert_eq!(world.init().await, "mine");
    let second = world.rotate(Rotation::Now).await;
    assert_eq!(
        world.init().await,
        second,
        "a restart does not undo the rotation"
    );

    let other = World::new().await;
    other.rotate(Rotation::Now).await;
    let sql = "update auth.signing_keys set kid = 'mine'";
    other.owner.batch_execute(sql).await.unwrap();
    let error = manage::init(&other.owner, &master(), &world.config, &world.clock).await;
    assert!(matches!(error, Err(KeysError::Import(_))), "{error:?}");
}

#[tokio::test]
async fn an_opaque_key_works_on_every_node_until_it_is_revoked() {
    let world = World::new().await;
    world.init().await;
    let node = world.node().await;
    let create = async |kind| {
        let name = "backend";
        manage::create_api_key(&world.owner, name, kind, &world.clock).await
    };
    let key = create(ApiKeyKind::Secret).await.unwrap();
    assert!(matches!(
        create(ApiKeyKind::Publishable).await,
        Err(KeysError::NameTaken(_))
    ));
    eventually("the node knows the key", async || {
        node.api_key_role(key.expose()).as_deref() == Some("service_role")
    })
    .await;
    assert_eq!(node.api_key_role("sb_secret_guess"), None);
    let listed = manage::list_api_keys(&world.owner).await.unwrap();
    assert!(key.expose().starts_with(&listed[0].prefix) && listed[0].prefix.len() == 14);
    manage::revoke_api_key(&world.owner, "backend", &world.clock)
        .await
        .unwrap();
    eventually("the node refuses the key", async || {
        node.api_key_role(key.expose()).is_none()
    })
    .await;
    let again = manage::revoke_api_key(&world.owner, "backend", &world.clock).await;
    assert!(matches!(again, Err(KeysError::NoSuchApiKey(_))));
}

#[tokio::test]
async fn development_keys_are_kept_and_made_anew_when_the_database_lost_them() {
    let world = World::new().await;
    world.init().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".sb").join("keys.json");
    let keys = async || {
        let issuer = world.config.issuer();
        dev_keys::load_or_create(&path, &world.owner, &master(), &issuer, &world.clock)
            .await
            .unwrap()
    };
    let first = keys().await;
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(keys().await, first);
    assert_eq!(dev_keys::load(&path), Some(first.clone()));
    let node = world.node().await;
    assert_eq!(
        node.verify(&first.service_role_key).unwrap()["role"],
        "service_role"
    );
    assert_eq!(
        node.api_key_role(&first.publishable_key).as_deref(),
        Some("anon")
    );
    assert_eq!(
        node.api_key_role(&first.secret_key).as_deref(),
        Some("service_role")
    );

    let sql = "delete from auth.api_keys where type = 'secret'";
    world.owner.batch_execute(sql).await.unwrap();
    let second = keys().await;
    assert_ne!(second.secret_key, first.secret_key);
    assert_eq!(
        (&second.anon_key, &second.publishable_key),
        (&first.anon_key, &first.publishable_key)
    );

    world
        .owner
        .batch_execute("delete from auth.signing_keys")
        .await
        .unwrap();
    world.init().await;
    let third = keys().await;
    assert_ne!(third.anon_key, second.anon_key);
    std::fs::write(&path, "{}").unwrap();
    assert_ne!(keys().await.publishable_key, third.publishable_key);
}

#[tokio::test]
async fn a_wrong_master_key_is_said_at_start() {
    let world = World::new().await;
    world.init().await;
    let db = db(&world.target);
    let listener = Listener::start(world.target.clone(), &world.lifecycle);
    let other = sb::keys::MasterKey::from_secret(&Secret::new("o".repeat(32))).unwrap();
    let config = Handle::default();
    let error = Keys::open(
        &db,
        &listener,
        world.clock.clone(),
        config,
        other,
        &world.lifecycle,
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("SB_MASTER_KEY"), "{error}");
}

#[tokio::test]
async fn a_database_without_the_framework_is_an_error_not_an_empty_set() {
    let world = World::new().await;
    let empty = empty_database().await;
    let listener = Listener::start(empty.clone(), &world.lifecycle);
    let result = Keys::open(
        &db(&empty),
        &listener,
        world.clock.clone(),
        Handle::default(),
        master(),
        &world.lifecycle,
    )
    .await;
    assert!(matches!(result, Err(KeysError::Db(_))), "{result:?}");
}
