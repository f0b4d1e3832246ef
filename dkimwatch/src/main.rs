//! dkimwatch
use dkimwatch::kernel::*;
fn main() {
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    if let Err(e) = Session::prepare() { eprintln!("{e}"); }
    let mut s = match Session::open(0) { Ok(s) => s, Err(e) => { eprintln!("{e}"); return; } };
    for (a, u) in s.survey() { println!("{a:?}\n   {u:?}"); }
}
