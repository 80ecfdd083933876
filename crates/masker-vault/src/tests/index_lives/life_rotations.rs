//! The rotations of a life.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use super::{
    life::{Inhabitant, Life},
    model::{Item, ModelRecord},
    rows::Since,
    world::{Gen, kids, permit},
};
use crate::{RotationError, RotationId, RotationRequest, StepBudget};
use masker_core::crypto::TokenId;
use masker_store::record::RotationState;
use masker_types::{kind::Kid, mode::Mode};

/// A rotation that runs.
pub(super) struct RunningRotation {
    id: RotationId,
    source: Kid,
    target: Gen,
    /// What it has moved.
    moved: BTreeSet<TokenId>,
    /// Whether it may fail: keys were missing, or changed.
    pub(super) may_fail: bool,
}

impl Life {
    pub(super) async fn begin_rotation(&mut self, at: usize) {
        let new_kid = self.pick(&kids());
        let source = if self.chance(60) { new_kid } else { self.pick(&kids()) };
        let dry_run = self.chance(15);
        let old_kid = (source != new_kid || self.rng.random()).then_some(source);
        self.note(at, format!("rotate {source} to {new_kid}, dry: {dry_run}"));
        let Inhabitant { world, rotation, .. } = &mut self.vaults[at];
        let request = RotationRequest { new_kid, old_kid, dry_run, rows_per_second_max: 0 };
        let begun = world.vault.begin_rotation(&permit(Mode::Live), request).await;
        if let Some(running) = rotation {
            assert!(matches!(begun, Err(RotationError::Running(id)) if id == running.id));
        } else if dry_run {
            let id = begun.unwrap().id;
            while world.vault.rotation(&permit(Mode::Live), id).unwrap().state == RotationState::Running {
                world.vault.rotations.step_dry_run(id, StepBudget { records: 3 }).await.unwrap();
            }
        } else {
            let target = world.active(new_kid);
            let id = begun.unwrap().id;
            *rotation = Some(RunningRotation { id, source, target, moved: BTreeSet::new(), may_fail: false });
            world.model.kids_are_related |= source != new_kid;
        }
        self.settle(at, Since::Nothing).await;
    }

    pub(super) async fn step_rotation(&mut self, at: usize) {
        let budget = StepBudget { records: self.rng.random_range(1..5) };
        self.note(at, "step".to_owned());
        let fault = self.inject(at);
        let Inhabitant { world, rotation, .. } = &mut self.vaults[at];
        let stepped = world.vault.rotations.step_rotation(budget).await;
        assert!(stepped.is_ok() || fault.is_some());
        let Some(running) = rotation else { return self.settle(at, Since::Nothing).await };
        running.may_fail |= world
            .model
            .records
            .values()
            .any(|one| one.sealed_by.kid == running.source && !world.is_loaded(one.sealed_by));
        let (source, target) = (running.source, running.target);
        let before = world.model.clone();
        let firsts = self.firsts(at, source, target.kid);
        self.settle(at, Since::Moves { source, target }).await;

        let Inhabitant { world, rotation, .. } = &mut self.vaults[at];
        let Some(running) = rotation else { return };
        for ((kid, mode, item), first) in firsts {
            let has_others = |list: &(&(Gen, Mode, Item), &Vec<TokenId>)| {
                let ((of, list_mode, list_item), ids) = list;
                (of.kid, *list_mode, list_item) == (target.kid, mode, &item)
                    && ids.iter().any(|id| !running.moved.contains(id))
            };
            // The records of the target stay first.
            if kid == target.kid || source == target.kid || !before.values.iter().any(|list| has_others(&list)) {
                assert_eq!(world.first(kid, mode, &item), Some(first), "a rotation has changed the token of {item:?}");
            }
        }
        let moved = world.model.records.iter().filter(|(id, one)| one.sealed_by != before.records[*id].sealed_by);
        running.moved.extend(moved.map(|(id, _)| *id));
        let status = world.vault.rotation(&permit(Mode::Live), running.id).unwrap();
        match status.state {
            RotationState::Running => return,
            RotationState::Done => {
                let left = |one: &ModelRecord| one.sealed_by.kid == source && one.sealed_by != target;
                assert!(!world.model.records.values().any(left), "records are left");
            }
            RotationState::Failed => assert!(running.may_fail, "the rotation failed: {:?}", status.detail),
            RotationState::Cancelled => panic!("nobody has cancelled it"),
        }
        *rotation = None;
    }

    /// Returns the first token of every value that searches under two kids find.
    pub(super) fn firsts(&self, at: usize, one: Kid, other: Kid) -> BTreeMap<(Kid, Mode, Item), TokenId> {
        let world = &self.vaults[at].world;
        let values: BTreeSet<(Mode, Item)> =
            world.model.values.keys().map(|(_, mode, item)| (*mode, item.clone())).collect();
        let mut firsts = BTreeMap::new();
        for (mode, item) in values {
            for kid in [one, other] {
                firsts.extend(world.first(kid, mode, &item).map(|first| ((kid, mode, item.clone()), first)));
            }
        }
        firsts
    }

    pub(super) async fn cancel_rotation(&mut self, at: usize) {
        self.note(at, "cancel".to_owned());
        let Inhabitant { world, rotation, .. } = &mut self.vaults[at];
        if let Some(running) = rotation.take() {
            let cancelled = world.vault.cancel_rotation(&permit(Mode::Live), running.id).await.unwrap();
            assert_eq!(cancelled.state, RotationState::Cancelled);
        }
        self.settle(at, Since::Nothing).await;
    }

    pub(super) async fn finish_rotation(&mut self, at: usize) {
        for _ in 0..500 {
            if self.vaults[at].rotation.is_none() {
                return;
            }
            self.step_rotation(at).await;
        }
        panic!("the rotation does not end");
    }
}
