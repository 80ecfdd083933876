//! The bill of materials, in CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>).

use serde_json::{Value, json};

use super::dependencies::{Crate, Dependencies};

/// Returns the bill of materials. It has neither a serial number nor a time, so that the same source gives the same bytes.
pub fn bill(dependencies: &Dependencies) -> Value {
    let root = component(&dependencies.root, "application");
    let components: Vec<Value> = dependencies.crates.values().map(|entry| component(entry, "library")).collect();
    let all = [&dependencies.root].into_iter().chain(dependencies.crates.values());
    let graph: Vec<Value> = all
        .map(|entry| {
            let uses: Vec<String> = entry.uses.iter().map(|(name, version)| purl(name, version)).collect();
            json!({"ref": purl(&entry.name, &entry.version), "dependsOn": uses})
        })
        .collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": graph,
    })
}

fn component(entry: &Crate, kind: &str) -> Value {
    let mut component = json!({
        "type": kind,
        "bom-ref": purl(&entry.name, &entry.version),
        "name": entry.name,
        "version": entry.version,
        "scope": "required",
        "purl": purl(&entry.name, &entry.version),
    });
    if let Some(description) = &entry.description {
        component["description"] = json!(one_line(description));
    }
    if let Some(licence) = &entry.licence {
        // Before SPDX expressions, cargo separated alternatives with a slash.
        let licence = licence.replace('/', " OR ");
        component["licenses"] = json!([{"expression": one_line(&licence)}]);
    }
    if let Some(checksum) = &entry.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = &entry.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns a crate's package URL.
fn purl(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn lists_the_crates_of_the_binary_only() {
        let dependencies = Dependencies::of(".").unwrap();
        let bill = bill(&dependencies);
        assert_eq!(bill["metadata"]["component"]["name"], "masker");
        let components = bill["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|component| component["name"] == name);
        for name in ["sled", "hyper", "aes-gcm", "libc"] {
            let component = named(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64, "{name}");
            assert!(component["licenses"][0]["expression"].is_string(), "{name}");
        }
        for name in ["proptest", "divan", "clap_mangen", "hdrhistogram", "xtask", "masker"] {
            assert!(named(name).is_none(), "{name} is not in the binary");
        }
        let known: BTreeSet<&str> = components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
        assert_eq!(known.len(), components.len(), "an entry is duplicated");
        for entry in bill["dependencies"].as_array().unwrap() {
            for used in entry["dependsOn"].as_array().unwrap() {
                assert!(known.contains(used.as_str().unwrap()), "{used} is not in the bill");
            }
        }
        assert!(!dependencies.licences().unwrap().contains(env!("CARGO_MANIFEST_DIR")), "a path of this machine");
    }
}
