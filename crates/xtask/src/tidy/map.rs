//! `ARCHITECTURE.md` as a map that is complete: every crate has a paragraph, and it says what the crate
//! must never know.

/// A paragraph that is missing, or that does not say it.
pub fn breaches<'a>(architecture: &str, crates: impl Iterator<Item = &'a str>) -> Vec<String> {
    crates.filter_map(|name| breach(architecture, name)).collect()
}

fn breach(architecture: &str, name: &str) -> Option<String> {
    let begin = format!("**{name}** ");
    let Some(paragraph) = architecture.split("\n\n").find(|text| text.starts_with(&begin)) else {
        return Some(format!("ARCHITECTURE.md: no paragraph begins with '**{name}**'"));
    };
    let says = paragraph.split_whitespace().collect::<Vec<_>>().join(" ").contains("must never");
    (!says).then(|| format!("ARCHITECTURE.md: what must {name} never know, or do?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_has_its_paragraph_and_its_border() {
        let map = "# Map\n\n**a** is. It must\nnever know b.\n\n**b** is all.\n";
        assert_eq!(breaches(map, ["a"].into_iter()), [""; 0]);
        assert!(breaches(map, ["b"].into_iter())[0].contains("b never know"));
        assert!(breaches(map, ["c"].into_iter())[0].contains("no paragraph"));
    }
}
