package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/evidence"
)

// What a demo runs with.
const (
	demoApp         = "demo-bank"
	demoPhones      = 3 // processes of phones, at most
	demoSyncEvery   = 5 * time.Second
	demoStall       = 2 * time.Minute // without any progress, the demo gives up
	demoGatherAtOne = 8               // messages whose evidence is fetched at once
)

// A demoSummary is what the demo prints with --json and leaves in --out.
type demoSummary struct {
	Messages  int     `json:"messages"`
	Delivered int     `json:"delivered"`
	Proven    int     `json:"proven"`
	Refused   int     `json:"refused"` // input lines that the template or the relay did not take
	ElapsedMS int64   `json:"elapsed_ms"`
	Log       demoLog `json:"log"`
}

type demoLog struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"`
}

func demoCommand() *cobra.Command {
	var d demo
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Send real notifications through everything, and prove each one",
		Long: `Start a relay, a carrier that speaks FCM HTTP v1, and phones, each in a process of
its own on loopback; seal, send and open every line of the input; then judge each
message from its bundle alone, under a policy that trusts no witness because there
is none yet. It ends with 0 only if every message is proven.

Input lines: {"to":"+491511234567","template":"otp|payment|account","data":{…}}`,
		Example: "  sealpost demo\n  sealpost demo --input messages.jsonl --data ./demo --out ./evidence\n  sealpost demo --count 1000 --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.words = cmd.ErrOrStderr()
			if d.count < 0 || d.count > inputLinesMax {
				return usage("--count: want 1 to %d", inputLinesMax)
			}
			lines, err := readDemoInput(d.input, d.count)
			if err != nil {
				return err
			}
			d.lines = lines
			summary, err := d.run(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), summary)
			} else {
				d.writeTable(cmd.OutOrStdout(), summary)
			}
			if err == nil && summary.Proven != summary.Messages {
				return exit{code: d.worst()}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&d.input, "input", "", "a file of JSON lines (default: 30 of our own)")
	cmd.Flags().IntVar(&d.count, "count", 0, "how many messages; the input is repeated or cut (default: one for each line)")
	cmd.Flags().StringVar(&d.data, "data", "", "keep everything in this new folder: relay, keys, sender, phones")
	cmd.Flags().StringVar(&d.out, "out", "", "write one bundle for each message, policy.json and summary.json to this folder")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the summary as JSON")
	return cmd
}

// A demo is one run. Its steps are those of a business that begins with
// Sealpost.
type demo struct {
	input, data, out string
	count            int
	lines            []demoLine
	words            io.Writer

	dir      string
	progress *progress
	children []*child // in the order of their start
	phones   []*child
	sender   *senderTool

	mu        sync.Mutex
	sent      []demoMessage
	refused   []string // why a line was not taken
	answered  int
	enrolled  int
	displayed int
	faults    []string // what phones said, at most demoFaultsMax
	moved     chan struct{}
}

// demoFaultsMax bounds what the demo repeats of its phones' troubles.
const demoFaultsMax = 20

// A demoMessage is one message of the demo and its end.
type demoMessage struct {
	line     demoLine
	id       sealpost.MessageID
	status   client.Status
	verdict  evidence.Status
	why      string
	elapsed  time.Duration // until its evidence was complete
	assuring sealpost.Assurance
}

// run does it all, in this order:
//
//	1 start    carrier, relay, phones: processes of their own
//	2 enrol    the sender's key; a phone for each recipient
//	3 send     every line: sealed, committed, promised
//	4 gather   the evidence of each, until it has an outcome and its proofs
//	5 stop     everything
//	6 judge    each bundle alone
func (d *demo) run(ctx context.Context) (s demoSummary, err error) {
	began := time.Now()
	d.moved = make(chan struct{}, 1)
	d.progress = newProgress(d.words)
	if err := d.folders(); err != nil {
		return s, err
	}
	if d.data == "" {
		defer os.RemoveAll(d.dir)
	}
	err = d.live(ctx)
	d.progress.end()
	err = errors.Join(err, d.stop())
	if err != nil {
		return s, err
	}
	if err := d.judge(&s); err != nil {
		return s, err
	}
	s.ElapsedMS = time.Since(began).Milliseconds()
	return s, d.writeSummary(s)
}

// live is the part for which processes run.
func (d *demo) live(ctx context.Context) error {
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.enrol(ctx); err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	if err := d.send(ctx); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return d.gather(ctx)
}

func (d *demo) folders() (err error) {
	if d.out != "" {
		if err := os.MkdirAll(d.out, 0o755); err != nil {
			return err
		}
	}
	if d.data == "" {
		d.dir, err = os.MkdirTemp("", "sealpost-demo-")
		return err
	}
	d.dir = d.data
	if _, err := os.Stat(filepath.Join(d.dir, relayFile)); err == nil {
		return usage("--data %s: a demo is there already; name a new folder", d.data)
	}
	return os.MkdirAll(d.dir, 0o700)
}

// start starts the carrier, the relay and the phones.
func (d *demo) start(ctx context.Context) error {
	d.progress.say("starting carrier, relay and phones")
	logs := filepath.Join(d.dir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return err
	}
	var carrier labReady
	if err := d.spawn(ctx, "carrier", logs, &carrier, "lab", "fcm", "--listen", "127.0.0.1:0", "--account", filepath.Join(d.dir, accountFile)); err != nil {
		return err
	}
	s := setup{dir: d.dir, app: demoApp, listen: "127.0.0.1:0", fcm: carrier.URL}
	cfg, err := s.writeRelay()
	if err != nil {
		return err
	}
	var relay readyLine
	if err := d.spawn(ctx, "relay", logs, &relay, "serve", "--config", filepath.Join(d.dir, relayFile)); err != nil {
		return err
	}
	if err := s.writeSender(cfg, relay.URL); err != nil {
		return err
	}
	if d.sender, err = openSender(filepath.Join(d.dir, senderDir)); err != nil {
		return err
	}
	for i := range min(demoPhones, len(d.recipients())) {
		name := fmt.Sprintf("phones-%d", i+1)
		if err := d.spawn(ctx, name, logs, new(phoneEvent), "demo-phones", "--dir", filepath.Join(d.dir, "phones"), "--push", carrier.URL, "--rack", name); err != nil {
			return err
		}
		p := d.children[len(d.children)-1]
		d.phones = append(d.phones, p)
		go d.hear(p)
	}
	return nil
}

func (d *demo) spawn(ctx context.Context, name, logs string, ready any, args ...string) error {
	c, err := spawn(ctx, name, logs, ready, args...)
	if err == nil {
		d.children = append(d.children, c)
	}
	return err
}

// stop ends every process, last first, and closes the sender's store.
func (d *demo) stop() error {
	var faults []error
	for i := len(d.children) - 1; i >= 0; i-- {
		if err := d.children[i].stop(); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", d.children[i].name, err))
		}
	}
	return errors.Join(faults...)
}

// hear counts what phones say.
func (d *demo) hear(p *child) {
	for {
		var e phoneEvent
		if err := p.read(&e); err != nil {
			return
		}
		d.mu.Lock()
		switch e.Event {
		case "answered":
			d.answered++
		case "enrolled":
			d.enrolled++
		case "displayed":
			d.displayed++
		default:
			if len(d.faults) < demoFaultsMax {
				d.faults = append(d.faults, strings.TrimSpace(p.name+": "+e.ID+" "+e.Why))
			}
		}
		d.mu.Unlock()
		d.nudge()
	}
}

func (d *demo) nudge() {
	select {
	case d.moved <- struct{}{}:
	default:
	}
}

// until waits for a count to reach a goal, as long as there is progress.
func (d *demo) until(ctx context.Context, what string, count func() int, goal int) error {
	for last := -1; ; {
		d.mu.Lock()
		n, faults := count(), strings.Join(d.faults, "\n")
		d.mu.Unlock()
		d.progress.count(what, n, goal)
		if n >= goal {
			return nil
		}
		if n == last {
			faults += "\nno progress for " + demoStall.String()
		}
		stall := time.NewTimer(demoStall)
		select {
		case <-d.moved:
			stall.Stop()
		case <-ctx.Done():
			stall.Stop()
			return ctx.Err()
		case <-stall.C:
			return fmt.Errorf("%s: %d of %d and then no progress\n%s", what, n, goal, faults)
		}
		last = n
	}
}

// recipients are the distinct numbers, in the order of the input.
func (d *demo) recipients() (out []string) {
	seen := map[string]bool{}
	for _, l := range d.lines {
		if !seen[l.To] {
			seen[l.To] = true
			out = append(out, l.To)
		}
	}
	return out
}

// enrol invites one phone for each recipient and signs its key event.
func (d *demo) enrol(ctx context.Context) error {
	if err := retryBusy(ctx, func() error { return d.sender.EnrolSelf(ctx) }); err != nil {
		return err
	}
	to := d.recipients()
	for i, number := range to {
		var in client.Invite
		err := retryBusy(ctx, func() (err error) { in, err = d.sender.Invite(ctx, number); return err })
		if err != nil {
			return err
		}
		if err := d.phones[i%len(d.phones)].tell(phoneOrder{Invite: in.Token.Reveal()}); err != nil {
			return err
		}
		d.progress.count("phones invited", i+1, len(to))
	}
	if err := d.until(ctx, "phones answered", func() int { return d.answered }, len(to)); err != nil {
		return err
	}
	if err := d.approve(ctx, len(to)); err != nil {
		return err
	}
	for _, p := range d.phones {
		if err := p.tell(phoneOrder{Do: "enrolled"}); err != nil {
			return err
		}
	}
	return d.until(ctx, "phones enrolled", func() int { return d.enrolled }, len(to))
}

// approve signs a key event for each phone that answered. The relay takes none
// before the sender's own key event is in the log, so it may have to be asked
// again.
func (d *demo) approve(ctx context.Context, phones int) error {
	for approved := 0; approved < phones; {
		done, err := d.sender.Approve(ctx)
		if err != nil && !isBusy(err) {
			return err
		}
		before := approved
		for _, a := range done {
			if a.Err == nil {
				approved++
			} else if !isBusy(a.Err) {
				return a.Err
			}
		}
		d.progress.count("phones approved", approved, phones)
		if approved > before {
			continue
		}
		if err := pause(ctx, pollFirst); err != nil {
			return err
		}
	}
	return nil
}

// demoBatch is how many lines are sealed and posted together.
const demoBatch = 64

// send seals and posts every line.
func (d *demo) send(ctx context.Context) error {
	for from := 0; from < len(d.lines); from += demoBatch {
		lines := d.lines[from:min(from+demoBatch, len(d.lines))]
		messages := make([]client.Message, len(lines))
		for i, l := range lines {
			messages[i] = client.Message{To: l.To, Template: l.Template, Data: l.Data}
		}
		for i, sent := range d.sender.SendAll(ctx, messages) {
			if sent.Err != nil && !errors.Is(sent.Err, client.ErrPending) {
				d.refused = append(d.refused, fmt.Sprintf("line %d: %v", from+i+1, sent.Err))
				continue
			}
			d.sent = append(d.sent, demoMessage{line: lines[i], id: sent.ID})
		}
		if err := d.flush(ctx); err != nil {
			return err
		}
		d.progress.count("messages promised", len(d.sent), len(d.lines))
	}
	return nil
}

// flush posts again what the relay was too busy for.
func (d *demo) flush(ctx context.Context) error {
	return retryBusy(ctx, func() error {
		left, err := d.sender.Flush(ctx)
		for _, s := range left {
			err = errors.Join(err, s.Err)
		}
		return err
	})
}

// gather waits until each message has its outcome and all of its proofs.
func (d *demo) gather(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go d.heal(ctx)
	began := time.Now()
	slots := make(chan struct{}, demoGatherAtOne)
	faults := make(chan error, len(d.sent))
	done := 0
	for i := range d.sent {
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			m := &d.sent[i]
			status, err := d.settle(ctx, m.id)
			d.mu.Lock()
			m.status, m.elapsed, done = status, time.Since(began), done+1
			d.mu.Unlock()
			faults <- err
			d.nudge()
		}()
	}
	if err := d.until(ctx, "messages with all their evidence", func() int { return done }, len(d.sent)); err != nil {
		return fmt.Errorf("gather: %w", err)
	}
	var all []error
	for range d.sent {
		all = append(all, <-faults)
	}
	return errors.Join(all...)
}

// settle waits for a message's evidence, and for the receipt that its phone
// displayed it, which comes after the outcome.
func (d *demo) settle(ctx context.Context, id sealpost.MessageID) (client.Status, error) {
	for tries := 0; ; tries++ {
		status, err := d.sender.settle(ctx, id)
		if err != nil || status.Refused != "" || status.End != sealpost.Delivered || tries >= displayedTries || hasLevel(status, sealpost.Displayed) {
			return status, err
		}
		if err := pause(ctx, pollFirst); err != nil {
			return status, err
		}
	}
}

// displayedTries bounds the wait for a receipt that is welcome and not needed.
const displayedTries = 40

func hasLevel(s client.Status, l sealpost.Level) bool {
	for _, r := range s.Receipts {
		if r.Level == l {
			return true
		}
	}
	return false
}

// heal tells the phones now and then to ask for what no push brought.
func (d *demo) heal(ctx context.Context) {
	for pause(ctx, demoSyncEvery) == nil {
		for _, p := range d.phones {
			_ = p.tell(phoneOrder{Do: "sync"}) // one that has ended shows in the counts
		}
	}
}

// judge builds each bundle from the sender's own store, with everything else
// stopped, and judges it alone.
func (d *demo) judge(s *demoSummary) error {
	defer d.sender.close()
	policy := d.sender.policy()
	at := sealpost.FromTime(time.Now())
	for i := range d.sent {
		m := &d.sent[i]
		raw, err := d.sender.bundle(m.id, client.Disclose{})
		if err != nil {
			return fmt.Errorf("%s: %w", m.id, err)
		}
		if d.out != "" {
			if err := os.WriteFile(filepath.Join(d.out, m.id.String()+".sealpost"), raw, 0o644); err != nil {
				return err
			}
		}
		v := evidence.Verify(raw, policy, at)
		m.verdict = v.Status
		if len(v.Findings) > 0 {
			m.why = v.Findings[0].String()
		}
		if v.Status == evidence.Proven {
			s.Proven++
		}
		if m.status.End == sealpost.Delivered {
			s.Delivered++
		}
	}
	s.Messages, s.Refused = len(d.lines), len(d.refused)
	var err error
	s.Log, err = d.readLog()
	if err != nil || d.out == "" {
		return err
	}
	return writePolicy(filepath.Join(d.out, "policy.json"), policy)
}

// readLog reads the checkpoint that the relay left.
func (d *demo) readLog() (l demoLog, err error) {
	cfg, err := readConfig(filepath.Join(d.dir, relayFile))
	if err != nil {
		return l, err
	}
	f, err := newLogFolder(cfg, d.sender.log)
	if err != nil {
		return l, err
	}
	l.Origin = cfg.Origin
	_, l.Size, err = f.checkpoint()
	return l, err
}

func (d *demo) writeSummary(s demoSummary) error {
	if d.out == "" {
		return nil
	}
	f, err := os.Create(filepath.Join(d.out, "summary.json"))
	if err != nil {
		return err
	}
	return errors.Join(writeJSON(f, s), f.Close())
}

// worst is the exit code of a demo in which not every message is proven.
func (d *demo) worst() int {
	worst := evidence.Incomplete
	for _, m := range d.sent {
		if m.verdict == evidence.Refused || m.verdict == evidence.Diverged {
			worst = m.verdict
		}
	}
	return worst.ExitCode()
}

// demoRowsMax bounds the table; the summary counts all.
const demoRowsMax = 40

// writeTable is the end of the demo for a person.
func (d *demo) writeTable(w io.Writer, s demoSummary) {
	rows := [][]string{{"MESSAGE", "TO", "TEMPLATE", "END", "RECEIPTS", "VERDICT"}}
	for i, m := range d.sent {
		if i == demoRowsMax {
			rows = append(rows, []string{fmt.Sprintf("… and %d more", len(d.sent)-i)})
			break
		}
		rows = append(rows, []string{m.id.String(), m.line.To, m.line.Template, endWord(m.status), levels(m.status), strings.ToUpper(m.verdict.String())})
	}
	if len(d.sent) > 0 {
		writeTable(w, rows)
	}
	for _, m := range d.sent {
		if m.why != "" {
			fmt.Fprintf(w, "! %s: %s\n", m.id, m.why)
		}
	}
	for _, r := range d.refused {
		fmt.Fprintf(w, "! not taken: %s\n", r)
	}
	fmt.Fprintf(w, `
%d of %d messages are proven, each from its bundle alone, in %.1f s. %d were delivered.
The log %s has %d leaves. There are no witnesses (policy: witnesses 0), so
its order is the relay's own word; the phones' keys are software. What is proven and
what is not: sealpost verify prints it with each claim.
`, s.Proven, s.Messages, float64(s.ElapsedMS)/1000, s.Delivered, s.Log.Origin, s.Log.Size)
	if d.out != "" && len(d.sent) > 0 {
		fmt.Fprintf(w, "\nJudge one again:  sealpost verify %s --policy %s\n",
			filepath.Join(d.out, d.sent[0].id.String()+".sealpost"), filepath.Join(d.out, "policy.json"))
	} else if d.out == "" {
		fmt.Fprintln(w, "\nKeep the bundles with --out DIR, and everything else with --data DIR.")
	}
}

// levels are the receipts of a message, in the order of the road.
func levels(s client.Status) string {
	var out []string
	for l := sealpost.HandedOver; l <= sealpost.DecryptFailed; l++ {
		if hasLevel(s, l) {
			out = append(out, l.String())
		}
	}
	return strings.Join(out, ",")
}

// isTerminal says whether words go to a person's screen.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
