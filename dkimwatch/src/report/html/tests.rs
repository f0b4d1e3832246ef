//! Contrast, by computation.

use std::collections::BTreeMap;

use super::*;

/// Colours of the style sheet's `:root` blocks, in their order: light, dark, paper.
fn schemes() -> Vec<BTreeMap<String, [f64; 3]>> {
    STYLE
        .split(":root {")
        .skip(1)
        .map(|block| {
            let block = block.split('}').next().unwrap_or_default();
            block
                .split(';')
                .filter_map(|rule| {
                    let (name, value) = rule.trim().strip_prefix("--")?.split_once(": #")?;
                    let channel =
                        |at: usize| f64::from(u8::from_str_radix(&value[at..at + 2], 16).expect("hex")) / 255.0;
                    Some((name.to_owned(), [channel(0), channel(2), channel(4)]))
                })
                .collect()
        })
        .collect()
}

/// WCAG 2.2, "relative luminance" and "contrast ratio".
fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
    let luminance = |[r, g, b]: [f64; 3]| 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn text_is_legible_in_light_in_dark_and_on_paper() {
    let schemes = schemes();
    assert_eq!(schemes.len(), 3);
    for (scheme, colours) in schemes.iter().enumerate() {
        let check = |front: &str, ground: &str, least: f64| {
            let found = contrast(colours[front], colours[ground]);
            assert!(found >= least, "scheme {scheme}: {front} on {ground} is {found:.2}, {least} is asked");
        };
        for ground in ["ground", "panel"] {
            // WCAG 2.2, 1.4.3: 4.5 for text. 1.4.11: 3 for what is drawn.
            for text in ["text", "quiet", "link", "grave", "look", "calm"] {
                check(text, ground, 4.5);
            }
            check("bar", ground, 3.0);
            check("bar-grave", ground, 3.0);
        }
        for name in ["grave", "look", "calm"] {
            check(name, &format!("{name}-ground"), 4.5);
            check("text", &format!("{name}-ground"), 4.5);
        }
        check("look", "look-ground", 3.0);
    }
}
