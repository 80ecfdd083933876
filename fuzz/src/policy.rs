//! Policies: a text is a valid policy, or each problem has a line number.

use masker_core::policy::{Policy, PolicySet, changes};

/// Checks the invariants of a valid policy, and that an invalid one has problems with lines of the text.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines = text.lines().count().max(1) + 1;
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(problems) => {
            assert!(!problems.is_empty(), "a rejected policy has no problem");
            for problem in &problems {
                assert!((1..=lines).contains(&problem.line), "{problem:?}, but the text has {lines} lines");
                assert!(!problem.message.is_empty());
            }
            return;
        }
    };
    assert!(!policy.entities.is_empty() && policy.version >= 1);
    assert!(
        policy.name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) && !policy.name.is_empty()
    );
    assert!(policy.name.len() <= 64 && !policy.name.starts_with('-'), "{:?}", policy.name);
    for (kind, rule) in &policy.entities {
        assert_eq!(policy.rule(kind.as_str()), Some((*kind, rule)));
    }
    assert_eq!(Policy::parse(text).as_ref(), Ok(&policy), "parsing the text again gives another policy");
    assert!(changes(&policy, &policy).is_empty(), "a policy differs from itself");
    let (warnings, kids) = (policy.warnings(), policy.kids().count());
    assert!(warnings.len() <= policy.entities.len() && kids <= policy.entities.len());
    let name = policy.name.clone();
    let set = PolicySet::build(vec![("text".to_owned(), policy)], Some(&name)).expect("one policy is a set");
    assert_eq!(set.get(None).map(|policy| &policy.name), Some(&name));
}
