//! How a vault is opened.

use std::path::Path;

use masker_types::vault_position::{VaultId, VaultPosition};

use super::{
    database::EngineDriver,
    fjall::FJALL,
    open_error::StoreOpenError,
    paths::{check_not_restoring, vault_exists},
};

/// How a vault is opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// The engine that keeps the rows.
    pub engine: &'static dyn EngineDriver,
    /// Size of the engine's cache in bytes. Engines count differently: see [`EngineDriver::open`].
    pub cache_bytes: u64,
    /// Whether to continue with the rows that are left, although acknowledged commits or the witness are lost. It applies
    /// to this opening only, not to later reopening.
    pub accept_loss: bool,
    /// The vault that takes the place of the one that `recorded` names. It applies to this opening only.
    pub new_vault: Option<NewVault>,
    /// The latest position of the vault that was recorded outside of its directory. An older state is not opened, unless
    /// the loss is accepted, and no vault is created in place of a recorded one. It applies to this opening only.
    pub recorded: Option<VaultPosition>,
}

/// A vault that takes the place of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewVault {
    /// Its id.
    pub id: [u8; 16],
    /// Whether it is created if there is no vault. Otherwise it must be there.
    pub create: bool,
}

impl StoreOptions {
    /// Returns whether a vault may be created in place of the recorded one.
    pub(super) fn creates_new_vault(&self) -> bool {
        self.new_vault.is_some_and(|new| new.create)
    }

    /// Default of [`StoreOptions::cache_bytes`]: 64 MiB.
    pub const CACHE_BYTES: u64 = 64 * 1024 * 1024;

    /// Checks that a recorded vault, unless a new one is accepted, is not missing altogether. Creates nothing, so it can be
    /// called before anything else creates the directory.
    ///
    /// # Errors
    /// [`StoreOpenError::VaultMissing`]; [`StoreOpenError::Restoring`] if a restore into the directory has not ended.
    pub fn check_recorded_vault_exists(&self, path: &Path) -> Result<(), StoreOpenError> {
        check_not_restoring(path)?;
        match self.recorded {
            Some(recorded) if !self.creates_new_vault() && !vault_exists(path) => {
                Err(StoreOpenError::VaultMissing { path: path.to_owned(), vault_id: VaultId(recorded.vault_id) })
            }
            _ => Ok(()),
        }
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            engine: FJALL,
            cache_bytes: Self::CACHE_BYTES,
            accept_loss: false,
            new_vault: None,
            recorded: None,
        }
    }
}
