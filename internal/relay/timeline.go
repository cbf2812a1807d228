package relay

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
)

// etsiBase is the prefix of the event URIs of ETSI EN 319 522-1.
const etsiBase = "http://uri.etsi.org/19522/Event/"

// Events of ETSI EN 319 522-1 that name our states. Where a state of ours has
// no event, its URI is empty: none is bent to fit.
const (
	etsiAccepted        = etsiBase + "SubmissionAcceptance"
	etsiRelayed         = etsiBase + "RelayToNonERDS"
	etsiRelayFailed     = etsiBase + "RelayToNonERDSFailure"
	etsiNotified        = etsiBase + "ConsignmentNotification"
	etsiNotifyFailed    = etsiBase + "ConsignmentNotificationFailure"
	etsiConsignFailed   = etsiBase + "ContentConsignmentFailure"
	etsiHandedOver      = etsiBase + "ContentHandover"
	etsiHandoverFailed  = etsiBase + "ContentHandoverFailure"
	etsiAccessed        = etsiBase + "ContentAccessTracking"
	etsiUserAccepted    = etsiBase + "ConsignmentAcceptance"
	etsiAcceptanceLapse = etsiBase + "AcceptanceRejectionExpiry"
)

func sortBySeq(records []sealpost.Record) {
	slices.SortFunc(records, func(a, b sealpost.Record) int { return cmp.Compare(a.Seq, b.Seq) })
}

// eventOf puts one statement into words that claim no more than it does.
func eventOf(rec sealpost.Record) (api.Event, error) {
	e := api.Event{Seq: rec.Seq, Kind: rec.Kind.String()}
	s, err := sealpost.Parse(rec.Statement)
	if err != nil {
		return e, err
	}
	switch s.Kind() {
	case sealpost.KindCommitment:
		c, err := s.Commitment()
		e.Time, e.What, e.ETSI = c.Created, "committed to by the sender", etsiAccepted
		return e, err
	case sealpost.KindAttempt:
		a, err := s.Attempt()
		describeAttempt(&e, a)
		return e, err
	case sealpost.KindCarrierClaim:
		c, err := s.CarrierClaim()
		describeClaim(&e, c)
		return e, err
	case sealpost.KindReceipt:
		r, err := s.Receipt()
		describeReceipt(&e, r)
		return e, err
	case sealpost.KindOutcome:
		o, err := s.Outcome()
		describeOutcome(&e, o)
		return e, err
	}
	return e, fmt.Errorf("a %v in a message's timeline", s.Kind())
}

func describeAttempt(e *api.Event, a sealpost.Attempt) {
	e.Time = a.Ended
	e.What = fmt.Sprintf("attempt %d over %v: %v", a.Number, a.Carrier, a.Result)
	if a.Code != "" {
		e.What += " (" + a.Code + ")"
	}
	e.ETSI = etsiRelayFailed
	if a.Result == sealpost.Accepted {
		e.ETSI = etsiRelayed
	}
}

func describeClaim(e *api.Event, c sealpost.CarrierClaim) {
	e.Time, e.ETSI = c.Received, etsiNotified
	switch c.Claim {
	case sealpost.ClaimDelivered:
		e.What = fmt.Sprintf("%v claims that it delivered", c.Carrier)
	case sealpost.ClaimRead:
		e.What = fmt.Sprintf("%v claims that it was read", c.Carrier)
	case sealpost.ClaimExpired:
		e.What, e.ETSI = fmt.Sprintf("%v claims that it expired", c.Carrier), etsiNotifyFailed
	case sealpost.ClaimFailed:
		e.What, e.ETSI = fmt.Sprintf("%v claims that it failed", c.Carrier), etsiNotifyFailed
	}
}

var receiptEvents = map[sealpost.Level]string{
	sealpost.HandedOver: etsiHandedOver, sealpost.Decrypted: etsiAccessed, sealpost.Displayed: etsiAccessed,
	sealpost.Acted: etsiUserAccepted, sealpost.DecryptFailed: etsiHandoverFailed,
}

func describeReceipt(e *api.Event, r sealpost.Receipt) {
	e.Time = r.DeviceTime
	e.What = "a device asserts: " + r.Level.String()
	if r.Reason != sealpost.ReasonNone {
		e.What += ", " + r.Reason.String()
	}
	e.ETSI = receiptEvents[r.Level]
}

var outcomeEvents = map[sealpost.End]string{
	sealpost.Expired: etsiAcceptanceLapse, sealpost.Undeliverable: etsiConsignFailed,
}

func describeOutcome(e *api.Event, o sealpost.Outcome) {
	e.Time, e.What, e.ETSI = o.Decided, "outcome: "+o.End.String(), outcomeEvents[o.End]
}
