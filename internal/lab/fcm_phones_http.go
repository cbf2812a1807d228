package lab

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Long polls wait this long unless asked for less.
const (
	pollWaitDefault = 25 * time.Second
	pollWaitMax     = 60 * time.Second
	labRequestMax   = 64 << 10 // bytes
)

func (f *FCM) serveRegister(w http.ResponseWriter, r *http.Request) {
	var reg Registration
	if !f.decode(w, r, &reg) {
		return
	}
	d, err := f.Register(reg)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInsufficientStorage)
		return
	}
	writeJSON(w, http.StatusCreated, d)
}

func (f *FCM) serveFaults(w http.ResponseWriter, r *http.Request) {
	var faults []Fault
	if !f.decode(w, r, &faults) {
		return
	}
	f.Script(faults...)
	w.WriteHeader(http.StatusNoContent)
}

// decode reads an optional JSON body into v.
func (f *FCM) decode(w http.ResponseWriter, r *http.Request, v any) bool {
	body, err := readBody(r, labRequestMax)
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func (f *FCM) serveUnregister(w http.ResponseWriter, r *http.Request) {
	if err := f.Unregister(r.PathValue("target")); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// servePoll answers ?after=N&wait=SECONDS with a Batch. Pushes up to N are
// forgotten: to ask again with the same N is safe.
func (f *FCM) servePoll(w http.ResponseWriter, r *http.Request) {
	p := f.phones.get(r.PathValue("target"))
	if p == nil {
		http.Error(w, "no such device", http.StatusNotFound)
		return
	}
	after, wait, err := pollQuery(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.poll(1)
	defer p.poll(-1)
	limit := time.NewTimer(wait)
	defer limit.Stop()
	for {
		batch, more, ok := p.collect(after, f.cfg.Now())
		if !ok {
			http.Error(w, "this device has unregistered", http.StatusGone)
			return
		}
		if more == nil {
			writeJSON(w, http.StatusOK, batch)
			return
		}
		select {
		case <-more:
		case <-limit.C:
			writeJSON(w, http.StatusOK, Batch{Pushes: []Push{}})
			return
		case <-f.quit:
			writeJSON(w, http.StatusOK, Batch{Pushes: []Push{}})
			return
		case <-r.Context().Done():
			return
		}
	}
}

func pollQuery(r *http.Request) (after uint64, wait time.Duration, err error) {
	wait = pollWaitDefault
	q := r.URL.Query()
	if s := q.Get("after"); s != "" {
		if after, err = strconv.ParseUint(s, 10, 64); err != nil {
			return 0, 0, err
		}
	}
	if s := q.Get("wait"); s != "" {
		sec, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return 0, 0, err
		}
		wait = min(time.Duration(sec)*time.Second, pollWaitMax)
	}
	return after, wait, nil
}

// serveRack streams the pushes of all phones of a rack as NDJSON, until the client
// leaves. A push is forgotten once it is written: what a broken connection
// swallows is lost, as with the vendor.
func (f *FCM) serveRack(w http.ResponseWriter, r *http.Request) {
	f.phones.mu.RLock()
	k := f.phones.racks[r.PathValue("rack")]
	f.phones.mu.RUnlock()
	if k == nil {
		http.Error(w, "no such rack", http.StatusNotFound)
		return
	}
	k.stream(1)
	defer k.stream(-1)
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	if err := rc.Flush(); err != nil {
		return
	}
	out := json.NewEncoder(w)
	for {
		ready, more := k.take()
		for _, p := range ready {
			for _, push := range p.drain(f.cfg.Now()) {
				if err := out.Encode(push); err != nil {
					return
				}
			}
		}
		if ready != nil {
			if err := rc.Flush(); err != nil {
				return
			}
			continue
		}
		select {
		case <-more:
		case <-f.quit:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (f *FCM) serveJournal(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	for _, e := range f.journal.Entries() {
		if out.Encode(e) != nil {
			return
		}
	}
}
