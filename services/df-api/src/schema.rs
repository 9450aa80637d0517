//! OpenAPI schemas of types that are a structure inside and a string on the wire; the derive cannot say that.

/// Nothing without feature `openapi`.
#[macro_export]
#[doc(hidden)]
macro_rules! text_schema {
    ($name:ident, $pattern:literal, $description:literal) => {
        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some($pattern))
                    .description(Some($description))
                    .build()
                    .into()
            }
        }
        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}
