//! Proof that a caller was allowed an operation.

use std::marker::PhantomData;

use super::{Peer, Scope};
use crate::crypto::World;

/// An operation that needs permission. Sealed: the set of operations is the set of scopes.
pub trait Operation: sealed::Sealed {
    /// The scope that allows it.
    const SCOPE: Scope;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! operations {
    ($($name:ident),*) => {$(
        #[doc = concat!("The operation that [`Scope::", stringify!($name), "`] allows.")]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Operation for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )*};
}
operations!(
    Tokenize,
    Rehydrate,
    Lookup,
    Rewrap,
    Forget,
    KeysRead,
    KeysAdmin,
    VaultRead,
    VaultAdmin,
    PoliciesRead,
    PoliciesReload,
    MetricsRead
);

/// Having one tells you that a caller was checked and may do `O`. Only [`Access::permit`] makes one.
pub struct Permit<O: Operation> {
    world: World,
    operation: PhantomData<fn() -> O>,
}

impl<O: Operation> Permit<O> {
    /// The world of tokens that the caller works in.
    pub fn world(&self) -> World {
        self.world
    }
}

/// A known caller that lacks a scope.
#[derive(Debug, thiserror::Error)]
#[error("this caller lacks the scope `{}`: run as the daemon's user, as root, or as a member of the socket's group", scope.as_str())]
pub struct Denied {
    /// What was lacking.
    pub scope: Scope,
}

/// Decides what callers may do. The daemon's own user, root and the socket's group may do everything, others nothing.
#[derive(Clone, Debug)]
pub struct Access {
    own_uid: u32,
    group: Option<u32>,
}

impl Access {
    /// Rules for a daemon that runs as `own_uid` behind a socket whose group is `group` (where one was configured).
    pub fn new(own_uid: u32, group: Option<u32>) -> Self {
        Access { own_uid, group }
    }

    /// The scopes that `peer` has.
    pub fn scopes(&self, peer: &Peer) -> &'static [Scope] {
        let trusted = peer.uid() == 0 || peer.uid() == self.own_uid || self.group.is_some_and(|gid| peer.in_group(gid));
        if trusted { Scope::ALL } else { &[] }
    }

    /// Whether `peer` has `scope`.
    pub fn allows(&self, peer: &Peer, scope: Scope) -> bool {
        self.scopes(peer).contains(&scope)
    }

    /// A permit for `O`, if `peer` has its scope.
    ///
    /// # Errors
    /// [`Denied`] names the scope that is lacking.
    pub fn permit<O: Operation>(&self, peer: &Peer) -> Result<Permit<O>, Denied> {
        if self.allows(peer, O::SCOPE) {
            Ok(Permit { world: World::Live, operation: PhantomData })
        } else {
            Err(Denied { scope: O::SCOPE })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_root_and_the_group_may_do_everything_and_others_nothing() {
        let access = Access::new(100, Some(500));
        let allowed = [
            Peer::for_tests(0, 0, &[]),
            Peer::for_tests(100, 1, &[]),
            Peer::for_tests(7, 500, &[]),
            Peer::for_tests(7, 7, &[9, 500]),
        ];
        for peer in &allowed {
            assert!(Scope::ALL.iter().all(|&scope| access.allows(peer, scope)));
        }
        let stranger = Peer::for_tests(7, 7, &[9]);
        assert!(Scope::ALL.iter().all(|&scope| !access.allows(&stranger, scope)));
        assert!(access.permit::<Tokenize>(&stranger).is_err_and(|denied| denied.scope == Scope::Tokenize));
        assert!(!Access::new(100, None).allows(&Peer::for_tests(7, 500, &[]), Scope::Tokenize));
    }
}
