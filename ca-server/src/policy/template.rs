//! Templates of subject and URI: what the maker and product say is filled in when the file is loaded, `{serial}` and
//! `{uid}` stay for the device.

use super::value::readable;

/// What a template may name besides `{serial}` and `{uid}`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filling<'a> {
    /// `{maker.name.en}`
    pub(super) maker_name_en: &'a str,
    /// `{product.id}`
    pub(super) product_id: &'a str,
}

impl Filling<'_> {
    /// Fills the template in; the values hold no braces, so one pass is enough.
    pub(super) fn fill(&self, template: &str) -> Result<String, &'static str> {
        if !template.chars().all(readable) {
            return Err("a template holds no control characters or direction marks");
        }
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or("an opening brace is not closed")?;
            filled.push_str(checked(literal)?);
            match name {
                "maker.name.en" => filled.push_str(self.maker_name_en),
                "product.id" => filled.push_str(self.product_id),
                "serial" => filled.push_str("{serial}"),
                "uid" => filled.push_str("{uid}"),
                _ => {
                    return Err(
                        "only {maker.name.en}, {product.id}, {serial} and {uid} can be filled in",
                    );
                }
            }
            rest = after;
        }
        filled.push_str(checked(rest)?);
        Ok(filled)
    }
}

fn checked(literal: &str) -> Result<&str, &'static str> {
    if literal.contains('}') {
        Err("a closing brace was not opened")
    } else {
        Ok(literal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILLING: Filling<'_> = Filling {
        maker_name_en: "Mihon Denki Co., Ltd.",
        product_id: "md-cam2",
    };

    #[test]
    fn what_belongs_to_the_device_stays() {
        assert_eq!(
            FILLING.fill("{product.id} {serial}/{uid}").unwrap(),
            "md-cam2 {serial}/{uid}"
        );
        assert_eq!(
            FILLING.fill("{maker.name.en}").unwrap(),
            "Mihon Denki Co., Ltd."
        );
    }

    #[test]
    fn anything_else_in_braces_is_refused() {
        for template in [
            "{name}",
            "{serial",
            "serial}",
            "{{serial}}",
            "{}",
            "a\u{202e}b",
        ] {
            assert!(FILLING.fill(template).is_err(), "{template}");
        }
    }
}
