//! Invitations and links that the holder of the service key delivers.

use serde_json::json;

use super::support::{ANA, Answer as _, BO, Flows, PASSWORD, claims};

#[tokio::test]
async fn somebody_is_invited_and_accepts() {
    let flows = Flows::new().await;
    let body = json!({ "email": BO, "data": { "team": 7 } });
    let path = "/invite?redirect_to=https%3A%2F%2Fsite.example%2Fjoin";
    let user = flows.admin(path, body.clone()).await.ok().json();
    assert!(user["invited_at"].is_string() && user.get("email_confirmed_at").is_none());
    let mail = flows.mail_of("invite", BO).await;
    assert_eq!(mail.values["RedirectTo"], "https://site.example/join");
    flows.later();
    // Until it is accepted it can be sent again.
    flows.admin("/invite", body.clone()).await.ok();
    let newer = flows.mail_of("invite", BO).await;
    flows
        .verify_hash("invite", &mail.token)
        .await
        .refused(403, "otp_expired");
    let session = flows.verify_hash("invite", &newer.token).await.ok();
    let access = session.text_at("/access_token");
    assert_eq!(claims(&access)["amr"][0]["method"], "invite");
    assert_eq!(session.json()["user"]["user_metadata"]["team"], 7);
    flows
        .put_user(&access, json!({ "password": PASSWORD }))
        .await
        .ok();
    flows.sign_in(BO, PASSWORD).await.ok();
    flows.later();
    flows
        .admin("/invite", body)
        .await
        .refused(422, "email_exists");
}

#[tokio::test]
async fn only_the_service_key_invites_and_makes_links() {
    let flows = Flows::new().await;
    let access = flows.member(ANA).await;
    for path in ["/invite", "/admin/generate_link"] {
        let body = json!({ "email": BO, "type": "magiclink" });
        flows
            .post(path, body.clone())
            .await
            .refused(401, "no_authorization");
        let path = format!("/auth/v1{path}");
        let reply = flows.app.post(&path, Some(&access), body).await;
        reply.refused(403, "not_admin");
    }
    assert_eq!(flows.value("select count(*) from auth.users").await, "1");
}

#[tokio::test]
async fn a_generated_link_is_what_a_mail_would_have_held() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    for (kind, email, verified_as) in [
        ("signup", "new@example.com", "signup"),
        ("invite", "guest@example.com", "invite"),
        ("magiclink", ANA, "magiclink"),
        ("magiclink", "unknown@example.com", "signup"),
        ("recovery", ANA, "recovery"),
    ] {
        let body = json!({
            "type": kind, "email": email, "password": PASSWORD, "data": { "a": 1 },
            "redirect_to": "https://site.example/after"
        });
        let link = flows
            .admin("/admin/generate_link", body.clone())
            .await
            .ok()
            .json();
        assert_eq!(link["email"], email);
        assert!(link["id"].is_string());
        assert_eq!(link["verification_type"], verified_as);
        assert_eq!(link["redirect_to"], "https://site.example/after");
        let token = link["hashed_token"].as_str().unwrap();
        let action = link["action_link"].as_str().unwrap();
        assert!(
            action.contains(&format!("token={token}&type={verified_as}")),
            "{action}"
        );
        let code = link["email_otp"].as_str().unwrap();
        flows.verify_code(verified_as, email, code).await.ok();
        flows
            .verify_hash(verified_as, token)
            .await
            .refused(403, "otp_expired");
        let link = flows.admin("/admin/generate_link", body).await;
        if kind == "signup" || kind == "invite" {
            link.refused(422, "email_exists");
        }
    }
    flows.sign_in("new@example.com", PASSWORD).await.ok();
    flows.no_mail().await;
}

#[tokio::test]
async fn both_halves_of_a_change_can_be_generated() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    for (kind, address) in [("email_change_current", ANA), ("email_change_new", BO)] {
        let body = json!({ "type": kind, "email": ANA, "new_email": BO });
        // Once more makes the older one worthless, and does not count for the other half.
        let older = flows.admin("/admin/generate_link", body.clone()).await.ok();
        let link = flows.admin("/admin/generate_link", body).await.ok();
        assert!(link.text_at("/action_link").contains("type=email_change&"));
        assert_eq!(link.text_at("/new_email"), BO);
        flows
            .verify_hash("email_change", &older.text_at("/hashed_token"))
            .await
            .refused(403, "otp_expired");
        flows
            .verify_code("email_change", address, &link.text_at("/email_otp"))
            .await
            .ok();
    }
    assert_eq!(flows.value("select email from auth.users").await, BO);
}

#[tokio::test]
async fn bad_requests_for_links_are_refused() {
    let flows = Flows::new().await;
    flows.member(ANA).await;
    for (body, status, code) in [
        (
            json!({ "type": "nonsense", "email": ANA }),
            400,
            "validation_failed",
        ),
        (
            json!({ "type": "recovery", "email": "no address" }),
            400,
            "validation_failed",
        ),
        (
            json!({ "type": "recovery", "email": BO }),
            404,
            "user_not_found",
        ),
        (
            json!({ "type": "signup", "email": BO }),
            400,
            "validation_failed",
        ),
        (
            json!({ "type": "signup", "email": ANA, "password": PASSWORD }),
            422,
            "email_exists",
        ),
        (
            json!({ "type": "email_change_new", "email": ANA }),
            400,
            "validation_failed",
        ),
        (
            json!({ "type": "email_change_new", "email": ANA, "new_email": ANA }),
            422,
            "email_exists",
        ),
    ] {
        let reply = flows.admin("/admin/generate_link", body).await;
        reply.refused(status, code);
    }
}
