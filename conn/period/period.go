// Package period reckons the months of a quota: from one reset day to the next.
package period

import "time"

// Of is the period that now is in: from midnight of a reset day, in now's own
// zone, until that of the next. day is of the month, from 1; a shorter month's
// last day stands for those that it lacks.
func Of(now time.Time, day int) (from, until time.Time) {
	at := func(months int) time.Time {
		first := time.Date(now.Year(), now.Month()+time.Month(months), 1, 0, 0, 0, 0, now.Location())
		last := first.AddDate(0, 1, -1).Day()
		return first.AddDate(0, 0, min(max(day, 1), last)-1)
	}
	if this := at(0); now.Before(this) {
		return at(-1), this
	}
	return at(0), at(1)
}
