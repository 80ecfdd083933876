//! Policies: a text is one that can be in force, or every problem of it is told with its place.

use masker_core::policy::{Policy, PolicySet, changes};

/// A sound policy keeps to what its type says; an unsound one has a problem, at a line of the text.
pub fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines = text.lines().count().max(1) + 1;
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(problems) => {
            assert!(!problems.is_empty(), "it was refused for nothing");
            for problem in &problems {
                assert!((1..=lines).contains(&problem.line), "{problem:?}, and there are {lines} lines");
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
    assert_eq!(Policy::parse(text).as_ref(), Ok(&policy), "it says the same each time");
    assert!(changes(&policy, &policy).is_empty(), "nothing changes from a policy to itself");
    let (warnings, kids) = (policy.warnings(), policy.kids().count());
    assert!(warnings.len() <= policy.entities.len() && kids <= policy.entities.len());
    let name = policy.name.clone();
    let set = PolicySet::build(vec![("text".to_owned(), policy)], Some(&name)).expect("one policy is a set");
    assert_eq!(set.get(None).map(|policy| &policy.name), Some(&name));
}
