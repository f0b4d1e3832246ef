//! `journal setup-sealing`: a key is drawn, printed once, and only what comes from it stays on the host.

use std::path::Path;

use super::{
    JournalError, VerificationKey,
    journal::{lock, make_folder},
    recover::{self, random},
    seal::{Key, Sealer},
    sealstate::{SealFile, SealState},
};

/// Sets sealing up. The journal is sealed from its next segment on, which the next `dkimwatch run` begins.
///
/// # Errors
/// Somebody writes the journal; it is sealed already and `renew` is not wanted; a file cannot be written.
pub fn set_up_sealing(folder: &Path, renew: bool) -> Result<VerificationKey, JournalError> {
    make_folder(folder)?;
    let _lock = lock(folder)?;
    let before = match SealFile::open(folder) {
        Ok(Some(_)) | Err(JournalError::BrokenSeal(_)) if !renew => {
            return Err(JournalError::SealedAlready(folder.to_owned()));
        }
        Ok(before) => before.map(|(_, state)| state),
        Err(JournalError::BrokenSeal(_)) => None,
        Err(error) => return Err(error),
    };
    let recovered = recover::recover(folder, before.as_ref())?;
    // Where the last segment goes on, its end is the last place that is not of the new key.
    let (segment, offset) =
        recovered.goes_on.as_ref().map_or((recovered.next_number - 1, 0), |begun| (begun.number, begun.offset));
    let from = segment + 1;
    let key = Key::new(random()?);
    let (seq, chain) = (recovered.point.seq, recovered.point.chain);
    let sealer = Sealer { entry: Key::new(random()?), next_segment: key.clone() };
    let journal = recovered.id;
    SealFile::create(folder, &SealState { journal, from, segment, offset, seq, chain, sealer })?;
    Ok(VerificationKey { journal, from, key })
}
