//! What manifests say (image-spec, `manifest.md` and `image-index.md`; Docker's schema 2), and which of an index are meant:
//! pure.

use std::fmt;
use std::str::FromStr;

use df_api::Digest;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Debug, PartialEq, Eq)]
pub enum Manifest {
    Index(Vec<Child>),
    Image(Vec<Part>),
}

/// A manifest that an index names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub digest: Digest,
    pub length: u64,
    pub platform: Option<Platform>,
}

/// A blob that a manifest names, and that its registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub digest: Digest,
    pub length: u64,
    pub is_layer: bool,
}

/// `linux/arm/v7`, each part as runtimes write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    os: String,
    architecture: String,
    /// `None` for what an architecture has usually.
    variant: Option<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("it has a manifest of Docker's schema 1, which runtimes do not pull any more: push the image anew")]
    Schema1,
    #[error("its manifest cannot be read: {0}")]
    Malformed(String),
    #[error("it has nothing for {wanted}; there {}", among(.available))]
    NoSuchPlatform { wanted: Platform, available: Vec<Platform> },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform {0:?} is not os/architecture or os/architecture/variant, such as linux/arm64")]
pub struct InvalidPlatform(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    /// Of an artifact in the way of image-spec 1.1's drafts.
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: Digest,
    size: u64,
    urls: Option<Vec<String>>,
    platform: Option<Named>,
}

/// As an index writes it.
#[derive(Deserialize)]
struct Named {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

const UNKNOWN: &str = "unknown";

pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let malformed = |why: &str| ManifestError::Malformed(why.to_owned());
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| ManifestError::Malformed(error.to_string()))?;
    if document.schema_version == Some(1) || document.fs_layers.is_some() {
        return Err(ManifestError::Schema1);
    }
    let named_blobs = document.layers.is_some() || document.blobs.is_some() || document.config.is_some();
    match document.manifests {
        Some(_) if named_blobs => Err(malformed("it is an image and an index at once")),
        Some(manifests) => Ok(Manifest::Index(manifests.into_iter().map(Child::from).collect())),
        None if !named_blobs => Err(malformed("it names neither manifests nor layers")),
        None => {
            let layers = [document.layers, document.blobs].into_iter().flatten().flatten();
            let parts = document.config.map(|config| (config, false)).into_iter();
            let parts = parts.chain(layers.map(|layer| (layer, true)));
            let parts = parts.filter(|(descriptor, _)| !descriptor.is_foreign());
            Ok(Manifest::Image(parts.map(|(part, is_layer)| part.into_part(is_layer)).collect()))
        }
    }
}

/// Those that a node of this platform pulls: of exactly this one, else of any variant when none is named, else those of
/// which the index does not say for what they are.
pub fn choose(children: Vec<Child>, wanted: Option<&Platform>) -> Result<Vec<Child>, ManifestError> {
    let Some(wanted) = wanted else { return Ok(children) };
    let like = |fits: fn(&Platform, &Platform) -> bool| {
        let chosen = children.iter().filter(|child| child.platform.as_ref().is_some_and(|own| fits(own, wanted)));
        chosen.cloned().collect::<Vec<_>>()
    };
    let exact = like(|own, wanted| own == wanted);
    let any = if exact.is_empty() && wanted.variant.is_none() { like(Platform::is_kin) } else { exact };
    if !any.is_empty() {
        return Ok(any);
    }
    let (unsaid, said): (Vec<_>, Vec<_>) = children.into_iter().partition(|child| child.platform.is_none());
    if !unsaid.is_empty() {
        return Ok(unsaid);
    }
    let mut available: Vec<Platform> = Vec::new();
    for platform in said.into_iter().filter_map(|child| child.platform) {
        if platform.os != UNKNOWN && !available.contains(&platform) {
            available.push(platform);
        }
    }
    Err(ManifestError::NoSuchPlatform { wanted: wanted.clone(), available })
}

fn among(available: &[Platform]) -> String {
    match available {
        [] => "is nothing for any platform".to_owned(),
        some => format!("is {}", some.iter().map(Platform::to_string).collect::<Vec<_>>().join(", ")),
    }
}

// === impl Descriptor ===

impl Descriptor {
    /// Its registry need not have it.
    fn is_foreign(&self) -> bool {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        let elsewhere = self.urls.as_ref().is_some_and(|urls| !urls.is_empty());
        elsewhere || ["nondistributable", "foreign"].iter().any(|word| media_type.contains(word))
    }

    fn into_part(self, is_layer: bool) -> Part {
        Part { digest: self.digest, length: self.size, is_layer }
    }
}

impl From<Descriptor> for Child {
    fn from(Descriptor { digest, size, platform, .. }: Descriptor) -> Self {
        let platform = platform.and_then(|Named { os, architecture, variant }| {
            Some(Platform::new(&os?, &architecture?, variant.as_deref().filter(|variant| !variant.is_empty())))
        });
        Self { digest, length: size, platform }
    }
}

// === impl Platform ===

impl Platform {
    /// As containerd's `platforms` normalises them.
    fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (os, architecture) = (os.to_ascii_lowercase(), architecture.to_ascii_lowercase());
        let variant = variant.map(str::to_ascii_lowercase);
        let (architecture, variant) = match architecture.as_str() {
            "x86_64" | "x86-64" => ("amd64", variant),
            "aarch64" => ("arm64", variant),
            "i386" => ("386", None),
            "armhf" => ("arm", Some("v7".to_owned())),
            "armel" => ("arm", Some("v6".to_owned())),
            other => (other, variant),
        };
        let variant = variant.map(|variant| match variant.strip_prefix(|first: char| first.is_ascii_digit()) {
            Some("") => format!("v{variant}"),
            _ => variant,
        });
        let usual = match architecture {
            "amd64" => Some("v1"),
            "arm" => Some("v7"),
            "arm64" => Some("v8"),
            _ => None,
        };
        let variant = variant.filter(|variant| Some(variant.as_str()) != usual);
        Self { os, architecture: architecture.to_owned(), variant }
    }

    fn is_kin(&self, other: &Self) -> bool {
        self.os == other.os && self.architecture == other.architecture
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [os, architecture] if ![os, architecture].contains(&"") => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] if ![os, architecture, variant].contains(&"") => {
                Ok(Self::new(os, architecture, Some(variant)))
            }
            _ => Err(InvalidPlatform(text.chars().take(100).collect())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn digest(byte: u8) -> Digest {
        format!("sha256:{}", hex::encode([byte; 32])).parse().unwrap()
    }

    fn descriptor(byte: u8, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": digest(byte), "size": u64::from(byte) })
    }

    fn parsed(document: &Value) -> Result<Manifest, ManifestError> {
        parse(document.to_string().as_bytes())
    }

    /// The numbers of those chosen, of an index of these platforms in order.
    fn chosen(platforms: &[&str], wanted: &str) -> Result<Vec<u64>, ManifestError> {
        let named = |(number, platform): (u8, &&str)| {
            let mut named = descriptor(number, "application/vnd.oci.image.manifest.v1+json");
            let mut parts = platform.split('/');
            if let (Some(os), Some(architecture)) = (parts.next(), parts.next()) {
                named["platform"] = json!({ "os": os, "architecture": architecture, "variant": parts.next() });
            }
            named
        };
        let manifests: Vec<Value> = (0..).zip(platforms).map(named).collect();
        let Manifest::Index(children) = parsed(&json!({ "schemaVersion": 2, "manifests": manifests }))? else {
            panic!("not an index");
        };
        let wanted = (!wanted.is_empty()).then(|| wanted.parse().unwrap());
        Ok(choose(children, wanted.as_ref())?.iter().map(|child| child.length).collect())
    }

    #[test]
    fn a_manifest_is_its_config_and_what_layers_its_registry_has() {
        let mut with_urls = descriptor(5, "application/vnd.oci.image.layer.v1.tar");
        with_urls["urls"] = json!(["https://elsewhere.example/layer"]);
        let document = json!({
            "schemaVersion": 2,
            "config": descriptor(1, "application/vnd.cncf.helm.config.v1+json"),
            "layers": [
                descriptor(2, "application/vnd.oci.image.layer.v1.tar+zstd"),
                descriptor(3, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
                descriptor(4, "application/vnd.oci.image.layer.nondistributable.v1.tar"),
                with_urls,
                descriptor(6, "text/plain"),
            ],
        });
        let part = |byte: u8, is_layer| Part { digest: digest(byte), length: byte.into(), is_layer };
        assert_eq!(parsed(&document), Ok(Manifest::Image(vec![part(1, false), part(2, true), part(6, true)])));
    }

    #[test]
    fn what_is_no_manifest_is_told() {
        assert_eq!(parsed(&json!({ "schemaVersion": 1, "fsLayers": [] })), Err(ManifestError::Schema1));
        let both = json!({ "schemaVersion": 2, "manifests": [], "layers": [] });
        for wrong in
            [json!({}), json!([]), both, json!({ "schemaVersion": 2, "layers": [{ "digest": "x", "size": 1 }] })]
        {
            assert!(matches!(parsed(&wrong), Err(ManifestError::Malformed(_))), "{wrong}");
        }
        let negative = json!({ "layers": [{ "digest": digest(1), "size": -1 }] });
        assert!(matches!(parsed(&negative), Err(ManifestError::Malformed(_))));
    }

    #[test]
    fn a_platform_gets_what_is_for_it() {
        let all = ["linux/amd64", "linux/arm64/v8", "linux/arm/v6", "linux/arm/v7", "unknown/unknown"];
        for (wanted, expected) in [
            ("linux/amd64", vec![0]),
            ("linux/x86_64", vec![0]),
            ("linux/arm64", vec![1]),
            ("linux/aarch64/8", vec![1]),
            ("linux/arm", vec![3]),
            ("Linux/ARM/v6", vec![2]),
            ("", vec![0, 1, 2, 3, 4]),
        ] {
            assert_eq!(chosen(&all, wanted), Ok(expected), "{wanted}");
        }
        assert_eq!(chosen(&["linux/arm/v5", "linux/arm/v6"], "linux/arm"), Ok(vec![0, 1]), "whatever there is");
        assert_eq!(chosen(&["", "windows/amd64"], "linux/amd64"), Ok(vec![0]), "it does not say");
        let told = chosen(&all, "linux/s390x").unwrap_err().to_string();
        assert_eq!(told, "it has nothing for linux/s390x; there is linux/amd64, linux/arm64, linux/arm/v6, linux/arm");
    }

    #[test]
    fn a_platform_has_two_or_three_parts() {
        for wrong in ["", "linux", "linux/", "/amd64", "linux/arm/", "a/b/c/d"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
        assert_eq!("linux/arm/v6".parse::<Platform>().unwrap().to_string(), "linux/arm/v6");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), platform in ".{0,30}") {
            let _ = parse(&bytes);
            let _ = platform.parse::<Platform>();
        }

        #[test]
        fn no_document_breaks_it(
            key in "(schemaVersion|config|layers|manifests|blobs|mediaType|fsLayers)",
            value in "(null|1|-1|\"x\"|\\[\\]|\\[null\\]|\\{\\}|\\[\\{\"digest\":\"sha256:0\",\"size\":99999999999999999999\\}\\])",
            platform in "[a-zA-Z0-9_/-]{0,12}",
        ) {
            if let Ok(Manifest::Index(children)) = parse(format!("{{\"{key}\":{value}}}").as_bytes()) {
                let _ = choose(children, platform.parse().ok().as_ref());
            }
        }
    }
}
