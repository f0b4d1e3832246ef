//! `journal setup-sealing`: a key is drawn, printed once, and only what comes from it stays on the host.

use std::path::Path;

use super::{
    JournalError, Notice, VerificationKey,
    journal::{lock, make_folder},
    reader::SegmentReader,
    recover::{self, random},
    seal::{Key, Sealer},
    sealstate::{SealFile, SealState},
    segment,
};

/// Sets sealing up. The journal is sealed from its next segment on, which the next `dkimwatch run` begins.
///
/// # Errors
/// Somebody writes the journal; it is sealed already and `renew` is not wanted; a file cannot be written.
/// What was found wrong with the journal meanwhile comes with the key: a torn end is cut off as at any start.
pub fn set_up_sealing(folder: &Path, renew: bool) -> Result<(VerificationKey, Vec<Notice>), JournalError> {
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
    // Whoever removes the seal's state is not to have the next one begun as if there had been none.
    let is_sealed = |segment| matches!(SegmentReader::open(segment), Ok((Some(header), _)) if header.is_sealed());
    if before.is_none() && !renew && segment::list(folder)?.iter().any(is_sealed) {
        return Err(JournalError::SealedAlready(folder.to_owned()));
    }
    // What comes from there on is of the new key, in a segment of its own.
    let (segment, offset) = recovered.place;
    let from = recovered.next_number;
    let key = Key::new(random()?);
    let (seq, chain) = (recovered.point.seq, recovered.point.chain);
    // The entry's key is the old one's: it proves where what was sealed by that ended.
    let entry = recovered.point.sealer.map_or_else(|| random().map(Key::new), |sealer| Ok(sealer.entry.clone()))?;
    let sealer = Sealer { entry, next_segment: key.clone() };
    let journal = recovered.id;
    SealFile::create(folder, &SealState { journal, from, segment, offset, seq, chain, sealer })?;
    Ok((VerificationKey { journal, from, key }, recovered.notices))
}
