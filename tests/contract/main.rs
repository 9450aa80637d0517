//! The committed OpenAPI documents: they are what the programs serve, they keep the laws of this API, and every operation
//! has its client method.

mod clients;
mod current;
mod document;
mod laws;
