// Package measure takes the laboratory's readings, as the borrower's
// applications see them: downloads by curl, echo requests, and what is
// computed from both.
package measure
