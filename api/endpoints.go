package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/sealpost/sealpost"
)

// The endpoints: each reads what the route's path and query say, asks one room
// and gives its answer.

func listMessages(s *server, r *request, _ none) (MessagePage, error) {
	limit, p := r.number(limitParam)
	if p != nil {
		return MessagePage{}, p
	}
	page, next, err := s.Reading.Messages(r.Context(), r.caller, r.text(cursorParam), limit)
	return MessagePage{Messages: notNil(page), Next: next}, err
}

func readMessage(s *server, r *request, _ none) (MessageView, error) {
	id, err := r.messageID()
	if err != nil {
		return MessageView{}, err
	}
	return s.Reading.Message(r.Context(), r.caller, id)
}

func readEvidence(s *server, r *request, _ none) (Exhibits, error) {
	id, err := r.messageID()
	if err != nil {
		return Exhibits{}, err
	}
	exhibits, err := s.Reading.Evidence(r.Context(), r.caller, id)
	return Exhibits{notNil(exhibits)}, err
}

func invite(s *server, r *request, in Invitation) (Invited, error) {
	if len(in.Recipient) != len(sealpost.Recipient{}) {
		return Invited{}, ErrMalformed.With("a recipient has 32 bytes").At("/recipient")
	}
	if len(in.SecretHash) != len(sealpost.Hash{}) {
		return Invited{}, ErrMalformed.With("a hash has 32 bytes").At("/secret_hash")
	}
	return s.Directory.Invite(r.Context(), r.caller, in)
}

func listEnrolments(s *server, r *request, _ none) (EnrolmentPage, error) {
	limit, p := r.number(limitParam)
	if p != nil {
		return EnrolmentPage{}, p
	}
	answered, err := s.Directory.Answered(r.Context(), r.caller, limit)
	return EnrolmentPage{notNil(answered)}, err
}

func postKeyEvent(s *server, r *request, in KeyEventPost) (Accepted, error) {
	return s.Directory.PostKeyEvent(r.Context(), r.caller, in.Statement)
}

func readKeyEvents(s *server, r *request, _ none) (Exhibits, error) {
	recipient, err := r.recipient()
	if err != nil {
		return Exhibits{}, err
	}
	exhibits, err := s.Directory.KeyEvents(r.Context(), r.caller, recipient)
	return Exhibits{notNil(exhibits)}, err
}

func claimPackages(s *server, r *request, in Claim) (ClaimedPackages, error) {
	recipient, err := r.recipient()
	if err != nil {
		return ClaimedPackages{}, err
	}
	if len(in.Devices) == 0 || len(in.Devices) > sealpost.DevicesMax {
		return ClaimedPackages{}, ErrMalformed.With("a claim names 1 to %d devices", sealpost.DevicesMax).At("/devices")
	}
	packages, err := s.Directory.ClaimPackages(r.Context(), r.caller, recipient, in.Devices)
	return ClaimedPackages{notNil(packages)}, err
}

func makeKey(s *server, r *request, in KeyOrder) (KeyView, error) {
	if !sealpost.IsName(in.Name) {
		return KeyView{}, ErrMalformed.With("a name is 1 to %d printable characters of ASCII", sealpost.NameMax).At("/name")
	}
	scopes, err := ParseScopes(in.Scopes)
	if err != nil {
		return KeyView{}, err
	}
	return s.Keys.MakeKey(r.Context(), r.caller, in.Name, scopes)
}

func listKeys(s *server, r *request, _ none) (KeyList, error) {
	keys, err := s.Keys.ListKeys(r.Context(), r.caller)
	keys = append([]KeyView{}, keys...)
	for i := range keys {
		keys[i].Secret = "" // shown once, when it is made
	}
	return KeyList{keys}, err
}

func revokeKey(s *server, r *request, _ none) (none, error) {
	name := r.PathValue("name")
	if !sealpost.IsName(name) {
		return none{}, ErrNotFound
	}
	return none{}, s.Keys.RevokeKey(r.Context(), r.caller, name)
}

func answerInvitation(s *server, r *request, in Answer) (none, error) {
	if !s.presents(r, in.Key) {
		return none{}, ErrUnauthenticated
	}
	return none{}, s.DeviceRoad.Answer(r.Context(), in)
}

func readEnrolment(s *server, r *request, _ none) (Exhibit, error) {
	return s.DeviceRoad.Enrolment(r.Context(), r.caller.Device)
}

// slack is what an answer may take beyond the time that a device waits.
const slack = 10 * time.Second

func readInbox(s *server, r *request, _ none) (Arrivals, error) {
	after, p := r.number(afterParam)
	if p != nil {
		return Arrivals{}, p
	}
	limit, p := r.number(limitParam)
	if p != nil {
		return Arrivals{}, p
	}
	wait, p := r.number(waitParam)
	if p != nil {
		return Arrivals{}, p
	}
	if s.waiting.Add(1) > InboxWaiters {
		wait = 0
	}
	defer s.waiting.Add(-1)
	r.allow(time.Duration(wait)*time.Millisecond + slack)
	arrivals, err := s.DeviceRoad.Inbox(r.Context(), r.caller.Device, uint64(after), limit, wait)
	arrivals.Arrivals = notNil(arrivals.Arrivals)
	return arrivals, err
}

// allow gives the connection time for an answer that waits. A writer that
// knows no deadlines has none to move.
func (r *request) allow(d time.Duration) {
	c := http.NewResponseController(r.writer)
	until := time.Now().Add(d) // the connection's clock, which is the kernel's
	_ = c.SetReadDeadline(until)
	_ = c.SetWriteDeadline(until)
}

func readArrival(s *server, r *request, _ none) (Arrival, error) {
	id, err := r.messageID()
	if err != nil {
		return Arrival{}, err
	}
	return s.DeviceRoad.Arrival(r.Context(), r.caller.Device, id)
}

func postReceipts(s *server, r *request, in ReceiptBatch) (Verdicts, error) {
	if len(in.Receipts) == 0 || len(in.Receipts) > BatchMax {
		return Verdicts{}, ErrMalformed.With("a batch has 1 to %d receipts", BatchMax).At("/receipts")
	}
	verdicts := s.DeviceRoad.PostReceipts(r.Context(), r.caller.Device, byteSlices(in.Receipts))
	mustAnswer(verdicts, len(in.Receipts))
	r.retryAfter(verdicts)
	return Verdicts{verdicts}, nil
}

func stock(s *server, r *request, in Stocking) (none, error) {
	if len(in.KeyPackages) > BatchMax {
		return none{}, ErrTooLarge.With("at most %d KeyPackages at once", BatchMax).At("/key_packages")
	}
	return none{}, s.DeviceRoad.Stock(r.Context(), r.caller.Device, byteSlices(in.KeyPackages), in.Endpoints)
}

func health(*server, *request, none) (Health, error) { return Health{"up"}, nil }

func (s *server) serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	writeBytes(w, http.StatusOK, headerJSON, s.openapi)
}

// messageID reads the path. An id that cannot be is not found, as one that
// merely is not.
func (r *request) messageID() (sealpost.MessageID, error) {
	id, err := sealpost.ParseMessageID(r.PathValue("id"))
	if err != nil {
		return id, ErrNotFound
	}
	return id, nil
}

func (r *request) recipient() (sealpost.Recipient, error) {
	recipient, err := sealpost.ParseRecipient(r.PathValue("recipient"))
	if err != nil {
		return recipient, ErrNotFound
	}
	return recipient, nil
}

func (r *request) text(p parameter) string { return r.URL.Query().Get(p.name) }

func (r *request) number(p parameter) (int, *Problem) {
	if !r.URL.Query().Has(p.name) {
		return p.absent, nil
	}
	n, err := strconv.Atoi(r.URL.Query().Get(p.name))
	if err != nil || n < p.least || n > p.most {
		return 0, ErrMalformed.With("query parameter %s is a whole number from %d to %d", p.name, p.least, p.most)
	}
	return n, nil
}

// notNil makes an empty list of none, which JSON writes as [] and not null.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func byteSlices(list []Bytes) [][]byte {
	out := make([][]byte, len(list))
	for i, b := range list {
		out[i] = b
	}
	return out
}

// mustAnswer holds a room to its contract: one verdict for each item, and
// exactly one half of each.
func mustAnswer(verdicts []Verdict, items int) {
	if len(verdicts) != items {
		panic("api: a room answered another number of items than it was given")
	}
	for _, v := range verdicts {
		if (v.Accepted == nil) == (v.Problem == nil) {
			panic("api: a room's verdict is not exactly one of accepted and problem")
		}
	}
}

// retryAfter tells in a header the longest wait that a verdict of a batch asks
// for: a problem inside a body has no header of its own.
func (r *request) retryAfter(verdicts []Verdict) { setRetryAfter(r.writer, verdicts) }

func setRetryAfter(w http.ResponseWriter, verdicts []Verdict) {
	var longest time.Duration
	for _, v := range verdicts {
		if v.Problem != nil {
			longest = max(longest, v.Problem.Retry)
		}
	}
	if longest > 0 {
		w.Header()["Retry-After"] = []string{retrySeconds(longest)}
	}
}
