//! Reads files of properties: Hadoop's `<configuration>` documents, given by `-conf`.
//!
//! A property that a file calls final is not changed by a later file (what the command line sets
//! wins over all files). Files that include others are refused, because where the other lies would
//! have to be guessed.

use super::Properties;
use super::aliases::present_name;
use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use std::collections::BTreeSet;

/// Deepest nesting of a sensible file is 3.
const MAX_DEPTH: usize = 8;

/// Properties of files, later files over earlier ones.
#[derive(Debug, Default)]
pub struct ConfFiles {
    properties: Properties,
    finals: BTreeSet<String>,
}

/// One `<property>` as far as it was read.
#[derive(Debug, Default)]
struct Property {
    name: String,
    value: Option<String>,
    last: String,
}

impl ConfFiles {
    /// Adds the properties of one file; the error says what is wrong with it.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let mut finals_here = Vec::new();
        for property in read(text)? {
            let name = property.name.trim();
            let Some(value) = property.value else { continue };
            if name.is_empty() {
                return Err("a property has no name".to_owned());
            }
            let present = present_name(name).to_owned();
            if !self.finals.contains(&present) {
                self.properties.set(name, value);
            }
            if property.last.trim() == "true" {
                finals_here.push(present);
            }
        }
        self.finals.extend(finals_here);
        Ok(())
    }

    /// All of them.
    pub fn into_properties(self) -> Properties {
        self.properties
    }
}

fn read(text: &str) -> Result<Vec<Property>, String> {
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    let mut found = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut property = Property::default();
    let mut seen_root = false;
    loop {
        let event = reader.read_event().map_err(|error| {
            format!("no well-formed XML at byte {}: {error}", reader.error_position())
        })?;
        match event {
            Event::Start(tag) => {
                let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                check_place(&open, &name, seen_root)?;
                seen_root = true;
                if name == "property" {
                    property = of_attributes(&tag)?;
                } else if name == "value" {
                    property.value.get_or_insert_default();
                }
                open.push(name);
            }
            Event::End(_) => {
                if open.pop().as_deref() == Some("property") {
                    found.push(std::mem::take(&mut property));
                }
            }
            Event::Text(text) => {
                let text = text.decode().map_err(|error| error.to_string())?;
                add_text(&open, &mut property, &text);
            }
            Event::CData(data) => {
                let text = data.decode().map_err(|error| error.to_string())?;
                add_text(&open, &mut property, &text);
            }
            Event::GeneralRef(reference) => {
                add_text(&open, &mut property, &of_reference(&reference)?);
            }
            Event::Eof if !open.is_empty() => {
                return Err(format!("the file ends within <{}>", open[open.len() - 1]));
            }
            Event::Eof if !seen_root => return Err("there is no <configuration> in it".to_owned()),
            Event::Eof => return Ok(found),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Empty(_) => {}
        }
    }
}

fn check_place(open: &[String], name: &str, seen_root: bool) -> Result<(), String> {
    if open.len() >= MAX_DEPTH {
        return Err(format!("<{name}> is nested too deep"));
    }
    if name.ends_with("include") {
        return Err("it includes another file: name both by -conf".to_owned());
    }
    if open.is_empty() && (name != "configuration" || seen_root) {
        return Err(format!("<{name}> where one <configuration> should be"));
    }
    Ok(())
}

/// `<property name=".." value=".." final=".."/>`
fn of_attributes(tag: &BytesStart<'_>) -> Result<Property, String> {
    let mut property = Property::default();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = attribute
            .normalized_value(quick_xml::XmlVersion::Implicit1_0)
            .map_err(|error| error.to_string())?
            .into_owned();
        match attribute.key.as_ref() {
            b"name" => property.name = value,
            b"value" => property.value = Some(value),
            b"final" => property.last = value,
            _ => {}
        }
    }
    Ok(property)
}

fn add_text(open: &[String], property: &mut Property, text: &str) {
    let inside = |name: &str| {
        open.len() >= 2 && open[open.len() - 2] == "property" && open[open.len() - 1] == name
    };
    if inside("name") {
        property.name.push_str(text);
    } else if inside("value") {
        property.value.get_or_insert_default().push_str(text);
    } else if inside("final") {
        property.last.push_str(text);
    }
}

/// A character or one of the five entities that every document has.
fn of_reference(reference: &BytesRef<'_>) -> Result<String, String> {
    if let Some(character) = reference.resolve_char_ref().map_err(|error| error.to_string())? {
        return Ok(character.to_string());
    }
    let name = reference.decode().map_err(|error| error.to_string())?;
    match name.as_ref() {
        "lt" => Ok("<".to_owned()),
        "gt" => Ok(">".to_owned()),
        "amp" => Ok("&".to_owned()),
        "quot" => Ok("\"".to_owned()),
        "apos" => Ok("'".to_owned()),
        other => Err(format!("&{other}; is not an entity of plain XML")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Properties, String> {
        let mut files = ConfFiles::default();
        files.add(text)?;
        Ok(files.into_properties())
    }

    #[test]
    fn properties_are_read_from_elements_and_attributes() {
        let text = r#"<?xml version="1.0"?>
            <?xml-stylesheet type="text/xsl" href="configuration.xsl"?>
            <!-- a comment -->
            <configuration>
              <property><name> mapred.reduce.tasks </name><value>7</value>
                <description>of <b>no</b> use</description></property>
              <property><name>separator</name><value>&lt;&#9;&#x41;<![CDATA[&]]></value></property>
              <property name="attribute" value="a &amp; b"/>
              <property><name>empty</name><value></value></property>
              <property><name>without value</name></property>
            </configuration>"#;
        let found = one(text).unwrap();
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            [
                ("attribute", "a & b"),
                ("empty", ""),
                ("mapreduce.job.reduces", "7"),
                ("separator", "<\tA&"),
            ]
        );
    }

    #[test]
    fn a_final_property_outlives_later_files() {
        let mut files = ConfFiles::default();
        let file = |value: &str, last: &str| {
            format!(
                "<configuration><property><name>a</name><value>{value}</value>{last}</property>\
                 </configuration>"
            )
        };
        files.add(&file("1", "")).unwrap();
        files.add(&file("2", "<final>true</final>")).unwrap();
        files.add(&file("3", "")).unwrap();
        assert_eq!(files.into_properties().raw("a"), Some("2"));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for bad in [
            "",
            "text",
            "<other/>",
            "<configuration>",
            "<configuration><property></configuration>",
            "<configuration><property><value>x</value></property></configuration>",
            "<configuration/><configuration/>",
            "<configuration><xi:include href='/etc/passwd'/></configuration>",
            "<!DOCTYPE a [<!ENTITY e 'x'>]><configuration><property><name>n</name>\
             <value>&e;</value></property></configuration>",
        ] {
            assert!(one(bad).is_err(), "{bad}");
        }
    }
}
