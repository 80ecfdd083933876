//! API keys, from their creation to their end.

mod attacks;
mod life;
mod lineage;
mod reach;

use serde_json::{Value, json};

use super::harness::{Client, Daemon};

/// An API key with its secret.
pub struct Issued {
    pub id: String,
    pub key: String,
}

impl Issued {
    /// Reads an answer that shows a secret.
    pub fn of(answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let issued = Issued { id: text(&answer["api_key"]["id"]), key: text(&answer["key"]) };
        assert_eq!(answer["api_key"]["prefix"], issued.key[..16], "{answer}");
        issued
    }

    /// Returns the path of its route.
    pub fn path(&self) -> String {
        format!("/api/v1/api-keys/{}", self.id)
    }

    /// Connects with this key.
    pub fn client(&self, daemon: &Daemon) -> Client {
        daemon.client().show(&self.key)
    }
}

/// Creates a key without limits, with these scopes and the members of `more`.
pub fn create(client: &mut Client, name: &str, scopes: &[&str], more: Value) -> Issued {
    let mut body = json!({"name": name, "scopes": scopes, "limits": "none"});
    let Value::Object(more) = more else { panic!("an object") };
    body.as_object_mut().expect("as written above").extend(more);
    let answer = client.post("/api/v1/api-keys", &body);
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    Issued::of(&answer.json())
}

/// Returns the status and the code of an answer; the code is empty if the answer is not a problem.
pub fn outcome(client: &mut Client) -> (u16, String) {
    let answer = client.get("/api/v1/auth/whoami");
    match answer.content_type.as_str() {
        "application/json" => (answer.status, String::new()),
        _ => {
            let problem: Value = serde_json::from_slice(&answer.body).expect("JSON");
            (answer.status, problem["code"].as_str().expect("a code").to_owned())
        }
    }
}

/// Checks that a key is rejected with this code.
pub fn refused(client: &mut Client, code: &str) {
    assert_eq!(outcome(client), (401, code.to_owned()));
}
