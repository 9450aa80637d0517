//! Parts of lists: `page`, `per_page`, and the `Link` header (RFC 8288) by which the incumbent's scripts walk.
//! **Invariant:** no answer is longer than `PER_PAGE_MAX` rows, whatever is asked for.

use df_http::ApiError;
use http::header::LINK;
use http::{HeaderName, Uri};
use serde::Deserialize;

use crate::db::Page;

const PER_PAGE_MAX: i64 = 1000;

/// Of lists without a filter.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// 1 is the first.
    #[param(minimum = 1)]
    pub page: Option<i64>,
    /// 1 to 1000; 10 when left out.
    #[param(minimum = 1, maximum = 1000)]
    pub per_page: Option<i64>,
}

/// `per_page` where the caller names none.
pub const PER_PAGE_DEFAULT: i64 = 10;

/// Lists that programs want whole: no page unless asked for.
pub const PER_PAGE_WHOLE: i64 = PER_PAGE_MAX;

// === impl Page ===

impl Page {
    pub fn parse(page: Option<i64>, per_page: Option<i64>, default: i64) -> Result<Self, ApiError> {
        let (page, per_page) = (page.unwrap_or(1), per_page.unwrap_or(default));
        if page < 1 {
            return Err(ApiError::unprocessable(format!("page {page}: must be 1 or more")));
        }
        if !(1..=PER_PAGE_MAX).contains(&per_page) {
            return Err(ApiError::unprocessable(format!("per_page {per_page}: must be 1 to {PER_PAGE_MAX}")));
        }
        Ok(Self { page, per_page })
    }

    /// Of what is not in the database.
    pub fn of<T>(self, all: Vec<T>) -> Vec<T> {
        let skipped = usize::try_from((self.page - 1).saturating_mul(self.per_page)).unwrap_or(usize::MAX);
        all.into_iter().skip(skipped).take(self.per_page.unsigned_abs() as usize).collect()
    }

    /// To `prev` and `next` where there are such, `first` and `last`; the other parameters stay.
    pub fn link(self, uri: &Uri, total: i64) -> [(HeaderName, String); 1] {
        let last = (total.max(1) + self.per_page - 1) / self.per_page;
        let kept: Vec<&str> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.starts_with("page=") && !pair.starts_with("per_page="))
            .collect();
        let to = |page: i64, rel: &str| {
            let own = format!("page={page}&per_page={}", self.per_page);
            let query = kept.iter().copied().chain([own.as_str()]).collect::<Vec<_>>().join("&");
            format!("<{}?{query}>; rel={rel}", uri.path())
        };
        let prev = (self.page > 1).then(|| to((self.page - 1).min(last), "prev"));
        let next = (self.page < last).then(|| to(self.page + 1, "next"));
        let links: Vec<String> = prev.into_iter().chain(next).chain([to(1, "first"), to(last, "last")]).collect();
        [(LINK, links.join(", "))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_header_leads_on_and_keeps_the_filter() {
        let uri: Uri = "/api/v1/clusters?name=a&page=2&per_page=10".parse().unwrap();
        let [(_, link)] = Page::parse(Some(2), None, 10).unwrap().link(&uri, 25);
        assert_eq!(
            link,
            "</api/v1/clusters?name=a&page=1&per_page=10>; rel=prev, </api/v1/clusters?name=a&page=3&per_page=10>; rel=next, \
             </api/v1/clusters?name=a&page=1&per_page=10>; rel=first, </api/v1/clusters?name=a&page=3&per_page=10>; rel=last"
        );
        let [(_, link)] = Page::parse(None, None, 10).unwrap().link(&"/x".parse().unwrap(), 0);
        assert_eq!(link, "</x?page=1&per_page=10>; rel=first, </x?page=1&per_page=10>; rel=last");
    }

    #[test]
    fn a_page_out_of_range_is_refused_by_name() {
        for (page, per_page, name) in
            [(Some(0), None, "page 0"), (None, Some(0), "per_page 0"), (None, Some(1001), "per_page 1001")]
        {
            assert!(Page::parse(page, per_page, 10).unwrap_err().detail().starts_with(name));
        }
    }
}
