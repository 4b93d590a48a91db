"""Everything that is computed: rates, charges, splits, invoices. Pure, frames in and frames out."""
