//! Where nothing is found, the reason says what to do.
