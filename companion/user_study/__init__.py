"""The user study of section 6.7 as a kit: `kit` makes the form, `answers` reads what comes back, `analysis` counts."""
