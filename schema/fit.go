package schema

// Fit returns r as EncodeStatement would state it, for a report that is shown
// or written to a file without being sealed. It does not change r.
func Fit(r *Report) *Report { return fit(r) }
