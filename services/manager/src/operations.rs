//! The list of operations being written: each with its handler, its place in the document, and who may call it.
//! **Invariant:** the rule of a resource's operations follows from their paths, as the incumbent's does: the first word
//! behind `/api/v1` is the object; GET takes `read` of it, everything else `*`.

use std::collections::{BTreeSet, HashMap};

use axum::Router;
use df_api::manager::{Action, Permission, Scope};
use http::Method;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{OpenApi, RefOr, SecurityRequirement};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::access::Rule;
use crate::app::App;

/// See the module.
pub struct Operations {
    router: OpenApiRouter<App>,
    rules: Rules,
}

/// Who may call what.
#[derive(Clone, Debug, Default)]
pub struct Rules(HashMap<String, Vec<(Method, Rule)>>);

// === impl Operations ===

impl Operations {
    pub fn new(document: OpenApi) -> Self {
        Self { router: OpenApiRouter::with_openapi(document), rules: Rules::default() }
    }

    pub fn anyone(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.ruled(routes, |_, _| Rule::Anyone)
    }

    pub fn maybe_signed_in(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.ruled(routes, |_, _| Rule::MaybeSignedIn)
    }

    pub fn returning(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.ruled(routes, |_, _| Rule::Returning)
    }

    pub fn component(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.ruled(routes, |_, _| Rule::Component)
    }

    pub fn signed_in(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.ruled(routes, |_, _| Rule::SignedIn)
    }

    /// Whose roles permit it.
    pub fn resource(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.ruled(routes, |method, path| Rule::Permitted(permission(method, path)))
    }

    /// As the resource `object`, which its path does not name.
    pub fn hook(self, object: &str, routes: UtoipaMethodRouter<App>) -> Self {
        self.ruled(routes, |method, _| {
            Rule::Permitted(Permission { object: object.to_owned(), action: action(method) })
        })
    }

    /// The user whose id is in the path, too.
    pub fn own(self, routes: UtoipaMethodRouter<App>) -> Self {
        self.ruled(routes, |method, path| Rule::Own(permission(method, path)))
    }

    /// Under `/oapi/v1` too, where the incumbent's scripts look for what a personal access token opens.
    pub fn open(self, routes: UtoipaMethodRouter<App>) -> Self {
        let mut others = routes.clone();
        let paths = std::mem::take(&mut others.1.paths);
        others.1.paths.extend(paths.into_iter().map(|(path, mut item)| {
            for (_, operation) in operations_of(&mut item) {
                operation.operation_id = operation.operation_id.take().map(|id| format!("open_{id}"));
                operation.tags = Some(vec!["open".to_owned()]);
            }
            (path.replacen("/api/", "/oapi/", 1), item)
        }));
        self.resource(routes).resource(others)
    }

    pub fn finish(self) -> (Router<App>, OpenApi, Rules) {
        let (router, mut document) = self.router.split_for_parts();
        drop_defaults(&mut document);
        (router, document, self.rules)
    }

    fn ruled(mut self, mut routes: UtoipaMethodRouter<App>, rule: impl Fn(&Method, &str) -> Rule) -> Self {
        for (path, item) in &mut routes.1.paths {
            for (method, operation) in operations_of(item) {
                let rule = rule(&method, path);
                operation.security = Some(security(&rule));
                self.rules.0.entry(path.clone()).or_default().push((method, rule));
            }
        }
        Self { router: self.router.routes(routes), rules: self.rules }
    }
}

// === impl Rules ===

impl Rules {
    /// HEAD is GET where it is nothing else (RFC 9110 §9.3.2).
    pub fn of(&self, method: &Method, path: &str) -> Option<&Rule> {
        let rules = self.0.get(path)?;
        let of = |wanted: &Method| rules.iter().find(|(known, _)| known == wanted).map(|(_, rule)| rule);
        of(method).or_else(|| if *method == Method::HEAD { of(&Method::GET) } else { None })
    }

    /// Everything that a role can be permitted, in order.
    pub fn permissions(&self) -> Vec<Permission> {
        let rules = self.0.values().flatten().map(|(_, rule)| rule);
        let objects: BTreeSet<&str> = rules
            .filter_map(|rule| match rule {
                Rule::Permitted(permission) | Rule::Own(permission) => Some(permission.object.as_str()),
                Rule::Anyone | Rule::MaybeSignedIn | Rule::Returning | Rule::Component | Rule::SignedIn => None,
            })
            .collect();
        let both =
            |object: &str| [Action::Read, Action::All].map(|action| Permission { object: object.to_owned(), action });
        objects.into_iter().flat_map(both).collect()
    }
}

fn operations_of(item: &mut PathItem) -> Vec<(Method, &mut Operation)> {
    let PathItem { get, head, put, post, delete, patch, .. } = item;
    let all = [
        (Method::GET, get),
        (Method::HEAD, head),
        (Method::PUT, put),
        (Method::POST, post),
        (Method::DELETE, delete),
        (Method::PATCH, patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?))).collect()
}

/// Of fields, those that are no number or flag. The derive writes one for each that may be left out; of an object, it
/// makes Go that does not compile, and `null`, `""` and `[]` only say again that the field may be left out.
fn drop_defaults(document: &mut OpenApi) {
    let schemas = document.components.iter_mut().flat_map(|components| components.schemas.values_mut());
    for schema in schemas {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        for field in object.properties.values_mut() {
            let default = match field {
                RefOr::Ref(field) => &mut field.default,
                RefOr::T(Schema::Object(field)) => &mut field.default,
                RefOr::T(Schema::Array(field)) => &mut field.default,
                RefOr::T(Schema::OneOf(field)) => &mut field.default,
                RefOr::T(_) => continue,
            };
            if default.as_ref().is_some_and(|value| !value.is_number() && !value.is_boolean()) {
                *default = None;
            }
        }
    }
}

fn permission(method: &Method, path: &str) -> Permission {
    let object = path.split('/').nth(3).unwrap_or_default().to_owned();
    Permission { object, action: action(method) }
}

fn action(method: &Method) -> Action {
    if matches!(*method, Method::GET | Method::HEAD) { Action::Read } else { Action::All }
}

/// As the document says it: OpenAPI 3.1 has room for what a bearer must be permitted.
fn security(rule: &Rule) -> Vec<SecurityRequirement> {
    let both = |permissions: &[String]| {
        ["user", "session"].map(|scheme| SecurityRequirement::new(scheme, permissions.to_vec())).to_vec()
    };
    match rule {
        Rule::Anyone | Rule::Returning => vec![SecurityRequirement::default()],
        Rule::MaybeSignedIn => [vec![SecurityRequirement::default()], both(&[])].concat(),
        Rule::Component => {
            ["join_token", "credential"].map(|scheme| SecurityRequirement::new(scheme, Vec::<String>::new())).to_vec()
        }
        Rule::SignedIn => both(&[]),
        Rule::Permitted(permission) | Rule::Own(permission) => {
            let mut any = both(&[permission.to_string()]);
            if [Scope::Job, Scope::Cluster].iter().any(|scope| scope.object() == permission.object) {
                any.push(SecurityRequirement::new("personal_access_token", [permission.to_string()]));
            }
            any
        }
    }
}
