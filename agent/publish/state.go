package publish

import "time"

// State is what a road can tell of itself.
type State struct {
	Connected bool `json:"connected"`
	// Since is when Connected last changed.
	Since time.Time `json:"since"`
	// Server is whom it is, or was last, connected to.
	Server string `json:"server,omitempty"`
	// Error is the last thing that went wrong, at ErrorAt: why there is no
	// connection, what the broker refused, or why a report was not published.
	Error   string    `json:"error,omitempty"`
	ErrorAt time.Time `json:"error_at,omitzero"`
	// ClaimsExpire is when the claims that were shown end; zero when none were.
	ClaimsExpire time.Time `json:"claims_expire,omitzero"`
}

// State tells how the road is now.
func (r *Road) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// change alters the state and tells of it.
func (r *Road) change(alter func(*State)) {
	r.mu.Lock()
	alter(&r.state)
	now := r.state
	r.mu.Unlock()
	r.options.Changed(now)
}

func (r *Road) connected(server string) {
	var expire time.Time
	if text, err := r.options.Claims(); err == nil && text != "" {
		_, expire, _ = life(text) // what cannot be read has no end we could tell
	}
	at := r.options.Now()
	r.change(func(s *State) { s.Connected, s.Since, s.Server, s.ClaimsExpire = true, at, server, expire })
}

func (r *Road) down(err error) {
	at := r.options.Now()
	r.change(func(s *State) {
		if s.Connected || s.Since.IsZero() {
			s.Connected, s.Since = false, at
		}
		s.Error, s.ErrorAt = err.Error(), at
	})
}

// fault is something that went wrong on a road that may be up all the same.
func (r *Road) fault(err error) {
	at := r.options.Now()
	r.change(func(s *State) { s.Error, s.ErrorAt = err.Error(), at })
}
