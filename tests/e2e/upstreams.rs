//! The registries of a lab: Debian's docker-registry six times over one store, so that what is pushed into the open one
//! is in all of them, behind another door each.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use df_testkit::docker_registry::RegistryAuth;
use df_testkit::tls::Authority;
use df_testkit::{DockerRegistry, RegistryOptions, TlsFront, TokenServer, User};
use tests::netns::Network;

/// Where the token server is; the registry says so in its challenge. A registry with TLS must not send people to one
/// without.
const REALM_HOST: &str = "auth.test";
const HUB_REALM_HOST: &str = "auth.docker.io";

/// In the lab's folder, where there are registries with TLS.
pub(crate) const CA_FILE: &str = "upstreams-ca.pem";

/// Which registry, by its door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// Plain HTTP, for everybody.
    Open,
    /// TLS with an authority of its own, for everybody.
    Secure,
    /// TLS, Basic authentication.
    Basic,
    /// Plain HTTP, Basic authentication.
    PlainBasic,
    /// Plain HTTP, a token per repository.
    Token,
    /// TLS, a token per repository, under the name of Docker Hub.
    Hub,
    /// Ours, see [`crate::faults`]: plain HTTP, for everybody. What it has is in the open one, too.
    Faulty,
    /// Ours: plain HTTP, a token.
    Closed,
}

/// All but the open one, which every lab has; end when dropped.
#[derive(Debug)]
pub(crate) struct Upstreams {
    registries: Vec<(Upstream, DockerRegistry)>,
    pub(crate) tokens: TokenServer,
    /// The same token server.
    hub_tokens: TlsFront,
    /// PEM of the authority that signs for those with TLS.
    pub(crate) ca: PathBuf,
}

// === impl Upstream ===

impl Upstream {
    pub(crate) const WITH_A_DOOR: [Self; 5] = [Self::Secure, Self::Basic, Self::PlainBasic, Self::Token, Self::Hub];

    /// As images are called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Upstream::Hub => "docker.io",
            _ => self.host(),
        }
    }

    /// As a part of a path: `:` cannot be in one.
    pub(crate) fn path_name(self) -> String {
        self.name().replace(':', "_")
    }

    /// Where it is.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Upstream::Open => "registry.test:5000",
            Upstream::Secure => "secure.test:5001",
            Upstream::Basic => "basic.test:5002",
            Upstream::Token => "token.test:5003",
            Upstream::Hub => "registry-1.docker.io",
            Upstream::Faulty => "faulty.test:5004",
            Upstream::Closed => "closed.test:5006",
            Upstream::PlainBasic => "plain-basic.test:5007",
        }
    }

    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Upstream::Secure | Upstream::Basic | Upstream::Hub)
    }

    pub(crate) fn url(self) -> String {
        format!("{}://{}", if self.has_tls() { "https" } else { "http" }, self.host())
    }

    /// Whom a client asks when the mirror fails.
    pub(crate) fn next_url(self) -> String {
        match self {
            Upstream::Faulty => Upstream::Open.url(),
            _ => self.url(),
        }
    }

    fn dns_name(self) -> &'static str {
        self.host().split(':').next().unwrap_or_default()
    }

    pub(crate) fn port(self) -> u16 {
        self.host().split(':').nth(1).and_then(|port| port.parse().ok()).unwrap_or(443)
    }
}

// === impl Upstreams ===

impl Upstreams {
    /// Beside the open registry, whose data is in `dir`.
    pub(crate) async fn start(dir: &Path, network: &Network) -> anyhow::Result<Self> {
        let (ctl, test) = (network.ctl(), network.test_address());
        let names: Vec<&str> = Upstream::WITH_A_DOOR.into_iter().map(Upstream::dns_name).collect();
        network.name(ctl.address, &names)?;
        network.name(test, &[REALM_HOST, HUB_REALM_HOST])?;
        let authority = Authority::new()?;
        let ca = dir.join(CA_FILE);
        std::fs::write(&ca, authority.pem())?;
        let tokens = TokenServer::start_at(SocketAddr::from((test, 0)), tenants()).await?;
        let (anywhere, hub) = (SocketAddr::from((test, 0)), [HUB_REALM_HOST]);
        let hub_tokens = TlsFront::start_at(anywhere, tokens.address(), &authority, &hub).await?;
        let [realm, hub_realm] = realms(&tokens, &hub_tokens).map(|realm| format!("{realm}/token"));
        let mut registries = Vec::new();
        for upstream in Upstream::WITH_A_DOOR {
            let auth = match upstream {
                Upstream::Open | Upstream::Secure | Upstream::Faulty | Upstream::Closed => RegistryAuth::Open,
                Upstream::Basic | Upstream::PlainBasic => RegistryAuth::Basic,
                Upstream::Token => RegistryAuth::Token { server: &tokens, realm: &realm },
                Upstream::Hub => RegistryAuth::Token { server: &tokens, realm: &hub_realm },
            };
            let tls = match upstream.has_tls() {
                true => Some(authority.issue_for(&[upstream.dns_name(), &ctl.address.to_string()])?),
                false => None,
            };
            let address = SocketAddr::from((ctl.address, upstream.port()));
            let options = RegistryOptions { netns: Some(&ctl.name), auth, tls };
            registries.push((upstream, DockerRegistry::start_with(dir, address, options).await?));
        }
        Ok(Self { registries, tokens, hub_tokens, ca })
    }

    pub(crate) fn registry(&self, upstream: Upstream) -> Option<&DockerRegistry> {
        self.registries.iter().find(|(this, _)| *this == upstream).map(|(_, registry)| registry)
    }

    /// Those with TLS, and the token service with it.
    pub(crate) fn tls_hosts() -> impl Iterator<Item = &'static str> {
        let registries = Upstream::WITH_A_DOOR.into_iter().filter(|upstream| upstream.has_tls());
        registries.map(Upstream::host).chain([HUB_REALM_HOST])
    }

    /// What a daemon must be allowed to ask, since none of it is public.
    pub(crate) fn origins(&self) -> Vec<String> {
        let registries = Upstream::WITH_A_DOOR.into_iter().map(Upstream::url);
        registries.chain(realms(&self.tokens, &self.hub_tokens)).collect()
    }
}

/// Of registries without and with TLS.
fn realms(plain: &TokenServer, front: &TlsFront) -> [String; 2] {
    let (port, tls_port) = (plain.address().port(), front.address().port());
    [format!("http://{REALM_HOST}:{port}"), format!("https://{HUB_REALM_HOST}:{tls_port}")]
}

/// Two of them; what begins with `public/` or `library/` is everybody's.
fn tenants() -> Vec<User> {
    let tenant = |name: &str| User { name: name.to_owned(), password: password(name), tenant: name.to_owned() };
    vec![tenant("red"), tenant("blue")]
}

/// Of a tenant; no other text of a test contains it.
pub(crate) fn password(tenant: &str) -> String {
    format!("{tenant}-Pa55word")
}

/// How crictl and others take a tenant's credentials.
pub(crate) fn login(tenant: &str) -> String {
    format!("{tenant}:{}", password(tenant))
}

/// Nobody listens there; packets go to a machine that is not.
pub(crate) fn nowhere(network: &Network) -> Ipv4Addr {
    let [a, b, c, _] = network.ctl().address.octets();
    Ipv4Addr::new(a, b, c, 99)
}
