//! Peers that know each other by certificate.

use df_testkit::registry::RegistryAccess;
use df_testkit::tls::Authority;
use dfdaemon::config::{PeerTlsConfig, TlsConfig};

use crate::cluster::Cluster;

#[tokio::test]
async fn peers_share_over_mutual_tls() {
    let files = Authority::new().unwrap().files().unwrap();
    let path = |name: &str| files.path().join(name);
    let own =
        TlsConfig { cert_file: path("cert.pem"), key_file: path("key.pem"), client_ca_file: Some(path("ca.pem")) };
    let (ca_file, cert_file, key_file) = (Some(path("ca.pem")), Some(path("cert.pem")), Some(path("key.pem")));
    let others = PeerTlsConfig { ca_file, cert_file, key_file };
    let cluster = Cluster::changed(RegistryAccess::Open, 9_000_000, |options| options.tls = Some((own, others))).await;
    for peer in [1, 2] {
        assert!(cluster.pull(peer, cluster.layer()).await == cluster.layer().bytes);
    }
    let stats = cluster.registry.blob_stats(crate::cluster::REPOSITORY, &cluster.layer().digest);
    assert_eq!(stats.bytes, cluster.layer().size_bytes(), "the registry was read once: the rest came from peers");
}
