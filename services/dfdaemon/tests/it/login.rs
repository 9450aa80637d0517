//! Clients that learn from `GET /v2/` where to show a password: containers/image, crane, Docker.

use df_testkit::registry::RegistryAccess;
use reqwest::{RequestBuilder, Response};

use crate::node::{Node, REPOSITORY};

const ANN: (&str, Option<&str>) = ("ann", Some("secret"));

fn basic() -> RegistryAccess {
    RegistryAccess::Basic { user: "ann".to_owned(), password: "secret".to_owned() }
}

fn token() -> RegistryAccess {
    RegistryAccess::Token { user: "ann".to_owned(), password: "secret".to_owned() }
}

/// As these clients do it: challenge, token, request.
struct Client {
    node: Node,
    realm: String,
    prefix: String,
}

impl Client {
    async fn meet(node: Node) -> Self {
        let base = format!("http://{}/v2/", node.daemon.local_addr);
        let met = node.http.get(&base).send().await.unwrap();
        assert_eq!(met.status(), 401);
        let challenge = met.headers()["www-authenticate"].to_str().unwrap().to_owned();
        let realm = format!("{base}token");
        assert_eq!(challenge, format!("Bearer realm=\"{realm}\",service=\"dragonfly\""));
        let prefix = node.registry.address().to_string().replace(':', "_");
        Self { node, realm, prefix }
    }

    fn ask_for_token(&self) -> RequestBuilder {
        let scope = format!("repository:{}/{REPOSITORY}:pull", self.prefix);
        self.node.http.get(&self.realm).query(&[("service", "dragonfly"), ("scope", &scope)])
    }

    async fn manifest(&self, token: &str) -> Response {
        let url = format!("http://{}/v2/{}/{REPOSITORY}/manifests/v1", self.node.daemon.local_addr, self.prefix);
        self.node.http.get(url).bearer_auth(token).send().await.unwrap()
    }
}

async fn token_in(answer: Response) -> String {
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["token"], answer["access_token"]);
    assert!(answer["expires_in"].as_u64().unwrap() >= 60);
    answer["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_private_image_is_pulled_with_the_password_of_its_registry() {
    for access in [basic(), token()] {
        let client = Client::meet(Node::start(access).await).await;
        let token = token_in(client.ask_for_token().basic_auth(ANN.0, ANN.1).send().await.unwrap()).await;
        let manifest = client.manifest(&token).await;
        assert_eq!(manifest.status(), 200);
        assert_eq!(manifest.bytes().await.unwrap(), client.node.image.top().bytes);
        let form = [
            ("grant_type", "password"),
            ("username", "ann"),
            ("password", "secret"),
            ("scope", &format!("repository:{}/{REPOSITORY}:pull", client.prefix)),
        ];
        let posted = client.node.http.post(&client.realm).form(&form).send().await.unwrap();
        assert_eq!(client.manifest(&token_in(posted).await).await.status(), 200);
    }
}

#[tokio::test]
async fn without_a_password_there_is_a_token_that_reads_only_what_is_public() {
    for (access, expected) in [(RegistryAccess::AnonymousToken, 200), (RegistryAccess::Open, 200), (token(), 401)] {
        let client = Client::meet(Node::start(access).await).await;
        for ask in [client.ask_for_token(), client.ask_for_token().basic_auth("", Some(""))] {
            let token = token_in(ask.send().await.unwrap()).await;
            assert_eq!(client.manifest(&token).await.status(), expected);
        }
    }
}

/// URLs are logged.
#[tokio::test]
async fn a_password_in_a_url_is_none() {
    let client = Client::meet(Node::start(basic()).await).await;
    let asked = client.ask_for_token().query(&[("username", "ann"), ("password", "secret")]);
    assert_eq!(client.manifest(&token_in(asked.send().await.unwrap()).await).await.status(), 401);
}

#[tokio::test]
async fn a_wrong_password_and_a_forgotten_token_are_refused() {
    for access in [basic(), token()] {
        let client = Client::meet(Node::start(access).await).await;
        let refused = client.ask_for_token().basic_auth("ann", Some("wrong")).send().await.unwrap();
        assert_eq!(refused.status(), 401);
        let forgotten = client.manifest("dragonfly.00000000000000000000000000000000").await;
        assert_eq!(forgotten.status(), 401);
        assert!(forgotten.headers()["www-authenticate"].to_str().unwrap().ends_with("error=\"invalid_token\""));
        let nameless =
            token_in(client.node.http.get(&client.realm).basic_auth(ANN.0, ANN.1).send().await.unwrap()).await;
        assert_eq!(client.manifest(&nameless).await.status(), 401);
    }
}

/// It is good for the registry it was got for, and for no other.
#[tokio::test]
async fn a_word_for_a_password_opens_no_other_registry() {
    let other = df_testkit::FakeRegistry::start(basic()).await.unwrap();
    let node = Node::with(basic(), |config| config.upstream.allow.push(other.base_url())).await;
    let client = Client::meet(node).await;
    let token = token_in(client.ask_for_token().basic_auth(ANN.0, ANN.1).send().await.unwrap()).await;
    let prefix = other.address().to_string().replace(':', "_");
    let url = format!("http://{}/v2/{prefix}/{REPOSITORY}/manifests/v1", client.node.daemon.local_addr);
    let answer = client.node.http.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(other.manifest_stats(REPOSITORY, "v1").requests, 0);
}
