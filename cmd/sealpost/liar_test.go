package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost"
	"github.com/sealpost/sealpost/api"
	"github.com/sealpost/sealpost/client"
	"github.com/sealpost/sealpost/evidence"
	"github.com/sealpost/sealpost/internal/lab/liar"
	"github.com/sealpost/sealpost/mls"
)

// A lyingTown is a real relay with a lying operator before it, and a sender and
// phones that know of nothing. All bytes between them pass a wiretap.
type lyingTown struct {
	t       *testing.T
	ctx     context.Context
	dir     string
	cfg     Config
	tap     *wiretap
	liar    *liar.Liar
	sender  *senderTool // nil while commands use its store
	mark    string      // begins every code that is sent
	sent    int
	stopped func()
}

// lyingTownWithin bounds one lie from its set-up to its verdict.
const lyingTownWithin = 30 * time.Second

func newLyingTown(t *testing.T) *lyingTown {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lyingTownWithin)
	t.Cleanup(cancel)
	w := &lyingTown{t: t, ctx: ctx, dir: t.TempDir(), mark: drawMarks().canary}
	tap, before := newWiretap(t)
	w.tap = tap
	at := setup{dir: w.dir, app: townApp, listen: "127.0.0.1:0", fcm: "http://127.0.0.1:9"}
	cfg, err := at.writeRelay()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writeAccount(filepath.Join(w.dir, accountFile), "http://127.0.0.1:9"); err != nil {
		t.Fatal(err)
	}
	cfg.URL, cfg.CheckpointMS = "http://"+tap.Listener.Addr().String(), 100
	w.cfg = cfg
	words, err := os.Create(w.logFile())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { words.Close() })
	s, err := openServer(ctx, cfg, slog.New(slog.NewTextHandler(words, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if w.liar, err = s.lying(); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.run(running) }()
	w.stopped = func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the relay: %v", err)
		}
		w.stopped = func() {}
	}
	t.Cleanup(func() { w.stopped() })
	before(s.listener.Addr().String())
	if err := at.writeSender(cfg, cfg.URL); err != nil {
		t.Fatal(err)
	}
	w.openSender()
	w.eventually("the sender's own key", func() error { return w.sender.EnrolSelf(ctx) })
	return w
}

func (w *lyingTown) logFile() string             { return filepath.Join(w.dir, "relay.log") }
func (w *lyingTown) senderDir() string           { return filepath.Join(w.dir, senderDir) }
func (w *lyingTown) phoneDir(name string) string { return filepath.Join(w.dir, "phones", name) }

func (w *lyingTown) openSender() {
	w.t.Helper()
	s, err := openSender(w.senderDir())
	if err != nil {
		w.t.Fatal(err)
	}
	w.sender = s
	w.t.Cleanup(func() { w.closeSender() })
}

// closeSender lets commands have the sender's store.
func (w *lyingTown) closeSender() {
	if w.sender != nil {
		if err := w.sender.close(); err != nil {
			w.t.Error(err)
		}
		w.sender = nil
	}
}

// eventually asks until there is no error.
func (w *lyingTown) eventually(what string, try func() error) {
	w.t.Helper()
	for {
		err := try()
		if err == nil {
			return
		}
		if pause(w.ctx, pollFirst) != nil {
			w.t.Fatalf("%s: %v", what, err)
		}
	}
}

// A victim is a customer's phone.
type victim struct {
	*deviceTool
	w        *lyingTown
	customer string
	id       sealpost.KeyID
}

// enrol takes a phone of a customer through an honest enrolment.
func (w *lyingTown) enrol(customer string) *victim {
	w.t.Helper()
	v := &victim{w: w, customer: customer}
	dir := w.phoneDir(customer)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := writeYAML(filepath.Join(dir, deviceFile), DeviceFile{Relay: w.cfg.URL}); err != nil {
		w.t.Fatal(err)
	}
	v.open()
	v.id = v.ID()
	in, err := w.sender.Invite(w.ctx, customer)
	if err == nil {
		err = v.AcceptInvite(w.ctx, in.Token.Reveal(), nil)
	}
	if err != nil {
		w.t.Fatalf("invite: %v", err)
	}
	w.eventually("approve", func() error {
		done, err := w.sender.Approve(w.ctx)
		if err == nil && len(done) == 1 {
			err = done[0].Err
		}
		if ids, _ := w.sender.Devices(w.sender.Recipient(customer)); len(ids) != 1 {
			err = errors.Join(err, errors.New("not enrolled yet"))
		}
		return err
	})
	w.eventually("enrol", func() error {
		done, err := v.Enrolled(w.ctx)
		if err == nil && !done {
			err = client.ErrNotEnrolled
		}
		return err
	})
	return v
}

// open opens the phone's store, with the real client ends between it and the
// relay.
func (v *victim) open() {
	v.w.t.Helper()
	t, err := openDevice(filepath.Join(v.w.phoneDir(v.customer), deviceStore), v.w.cfg.URL)
	if err != nil {
		v.w.t.Fatal(err)
	}
	v.deviceTool = t
	v.w.t.Cleanup(v.close)
}

// later is the same phone when its clock has moved on. Its requests keep the
// relay's time.
func (v *victim) later(d time.Duration) {
	v.w.t.Helper()
	key, err := client.LoadKey(v.store, deviceKeyName, sealpost.EdDSA, rand.Reader)
	if err != nil {
		v.w.t.Fatal(err)
	}
	relay, err := api.NewDeviceClient(v.w.cfg.URL, key, time.Now, rand.Reader, nil)
	if err != nil {
		v.w.t.Fatal(err)
	}
	v.Device, err = client.NewDevice(client.DeviceConfig{Store: v.store, API: relay, Log: relay, Rand: rand.Reader, Key: key,
		Now: func() time.Time { return time.Now().Add(d) }})
	if err != nil {
		v.w.t.Fatal(err)
	}
}

// close lets commands have the phone's store.
func (v *victim) close() {
	if v.deviceTool != nil {
		if err := v.deviceTool.close(); err != nil {
			v.w.t.Error(err)
		}
		v.deviceTool = nil
	}
}

// message is the next one to send, with a code that no other text holds.
func (w *lyingTown) message(customer string) client.Message {
	w.sent++
	return client.Message{To: customer, Template: client.TemplateOTP, Data: map[string]string{"code": fmt.Sprintf("%s%05d", w.mark, w.sent)}}
}

// send sends a code that the relay promises to log.
func (w *lyingTown) send(customer string) sealpost.MessageID {
	w.t.Helper()
	id, err := w.sender.Send(w.ctx, w.message(customer))
	if err != nil {
		w.t.Fatalf("send: %v", err)
	}
	return id
}

// fetch has the phone ask once, and gives what came.
func (v *victim) fetch() []client.Arrived {
	v.w.t.Helper()
	got, err := v.Sync(v.w.ctx, 0)
	if err != nil {
		v.w.t.Fatalf("fetch: %v", err)
	}
	return got
}

// receives has the phone ask until it shows a message.
func (v *victim) receives(id sealpost.MessageID) {
	v.w.t.Helper()
	v.w.eventually("receive", func() error {
		for _, a := range v.fetch() {
			if a.Err != nil {
				v.w.t.Fatalf("refused: %v", a.Err)
			}
			if a.ID == id && strings.Contains(a.Text, v.w.mark) {
				return nil
			}
		}
		return errors.New("not there")
	})
}

// refuses has the phone ask until it refuses something, and wants this reason.
func (v *victim) refuses(level sealpost.Level, reason sealpost.Reason) {
	v.w.t.Helper()
	v.w.eventually("refuse", func() error {
		for _, a := range v.fetch() {
			refusal, refused := errors.AsType[*client.Refusal](a.Err)
			if !refused || refusal.Level != level || refusal.Reason != reason || a.Text != "" {
				v.w.t.Fatalf("got %v, want %v: %v", a.Err, level, reason)
			}
			return nil
		}
		return errors.New("nothing came")
	})
}

// gathers syncs a message until the sender's store says what is wanted. What
// the sender refuses on the way it keeps.
func (w *lyingTown) gathers(id sealpost.MessageID, want func(client.Status) bool) {
	w.t.Helper()
	w.eventually("evidence", func() error {
		st, err := w.sender.Sync(w.ctx, id)
		if want(st) {
			return nil
		}
		return fmt.Errorf("%+v: %w", st, err)
	})
}

func isComplete(st client.Status) bool { return st.Complete }

// command runs a command in this process and wants an exit code.
func (w *lyingTown) command(code int, words ...string) string {
	w.t.Helper()
	var out, errw bytes.Buffer
	if got := run(w.ctx, words, nil, &out, &errw); got != code {
		w.t.Fatalf("%s: exit %d, want %d\n%s%s", strings.Join(words, " "), got, code, out.String(), errw.String())
	}
	return out.String() + errw.String()
}

// proves writes the sender's bundle and has it judged by the command that
// anybody can run.
func (w *lyingTown) proves(id sealpost.MessageID, status evidence.Status, says ...string) {
	w.t.Helper()
	w.judge(status, says, "prove", id.String(), "--sender", w.senderDir())
}

// accuses does the same with what was refused.
func (w *lyingTown) accuses(id sealpost.MessageID, flag, dir string, status evidence.Status, says ...string) {
	w.t.Helper()
	w.judge(status, says, "fault", "prove", id.String(), flag, dir)
}

func (w *lyingTown) judge(status evidence.Status, says []string, words ...string) {
	w.t.Helper()
	bundle, policy := filepath.Join(w.dir, "bundle.sealpost"), filepath.Join(w.dir, "policy.json")
	if _, err := os.Stat(policy); err != nil {
		s, err := openSender(w.senderDir())
		if err != nil {
			w.t.Fatal(err)
		}
		if err := errors.Join(writePolicy(policy, s.policy()), s.close()); err != nil {
			w.t.Fatal(err)
		}
	}
	w.command(0, append(words, "-o", bundle)...)
	told := w.command(status.ExitCode(), "verify", bundle, "--policy", policy)
	for _, words := range says {
		if !strings.Contains(told, words) {
			w.t.Errorf("the verdict does not say %q:\n%s", words, told)
		}
	}
}

// faults are what a folder's owner kept, as the command prints them.
func (w *lyingTown) faults(flag, dir string) (all []faultView) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(w.command(0, "fault", "list", "--json", flag, dir)), &all); err != nil {
		w.t.Fatal(err)
	}
	return all
}

// fault wants one that says this.
func (w *lyingTown) fault(flag, dir, says string) faultView {
	w.t.Helper()
	all := w.faults(flag, dir)
	i := slices.IndexFunc(all, func(f faultView) bool { return strings.Contains(f.What, says) })
	if i < 0 {
		w.t.Fatalf("no fault says %q: %+v", says, all)
	}
	return all[i]
}

// learnsNothing looks for what was sent in everything that the relay's side saw,
// holds and tried.
func (w *lyingTown) learnsNothing() {
	w.t.Helper()
	if read := w.liar.Read(); len(read) != 0 {
		w.t.Errorf("the operator could open %d messages", len(read))
	}
	secret := newSearch(w.mark)
	all := w.tap.all()
	if len(all) < 10 {
		w.t.Errorf("only %d exchanges passed: too few to show anything", len(all))
	}
	for _, e := range all {
		secret.none(w.t, "request "+e.path, e.request)
		secret.none(w.t, "answer to "+e.path, e.response)
	}
	for _, at := range []string{w.cfg.Data, w.cfg.Keys, w.logFile()} {
		found, read := secret.inFiles(w.t, at)
		if read == 0 && at != w.logFile() { // a relay that has nothing to say is quiet
			w.t.Errorf("%s: nothing was read", at)
		}
		for _, what := range found {
			w.t.Error(what)
		}
	}
	if found, _ := secret.inFiles(w.t, filepath.Join(w.dir, "phones")); len(found) == 0 {
		w.t.Error("the phones' own stores hold the codes, and the search does not find them")
	}
}

// toldLies are the lies, each with what must come of it: no bundle that is proven, and
// evidence that a third party can judge.
var toldLies = map[string]func(w *lyingTown, v *victim){
	// The sender signs over a MAC that only its customer can make. All that the
	// relay then says on its own is by a key that may not say it: the sender's
	// bundle lacks the ghost's receipt that the outcome counts (10), and with what
	// was refused it is refused (40).
	"enrol-ghost": func(w *lyingTown, v *victim) {
		if _, err := w.sender.Invite(w.ctx, v.customer); err != nil {
			w.t.Fatal(err)
		}
		done, err := w.sender.Approve(w.ctx)
		if err != nil || len(done) != 1 || !errors.Is(done[0].Err, client.ErrAnswer) {
			w.t.Fatalf("approve: %+v, %v", done, err)
		}
		id := w.send(v.customer)
		w.gathers(id, func(st client.Status) bool { return st.End == sealpost.Delivered && len(st.Receipts) == 0 })
		if got := v.fetch(); len(got) != 0 {
			w.t.Errorf("the message was not kept back: %+v", got)
		}
		w.closeSender()
		w.proves(id, evidence.Incomplete, "it counts the receipt", "no logged receipt of level decrypted")
		w.accuses(id, "--sender", w.senderDir(), evidence.Refused,
			"it is the relay's statement key, which may sign no key-event; the relay logged it all the same")
		answer := w.fault("--sender", w.senderDir(), "the MAC is not by the holder of the enrolment secret")
		var view api.EnrolmentView
		if err := sealpost.Decode(part(w.t, answer.Parts[0]), &view); err != nil {
			w.t.Fatal(err)
		}
		if key, err := sealpost.ParsePublicKey(view.Key); err != nil || key.ID() == v.id {
			w.t.Errorf("the answer that was kept is not the ghost's: %v", err)
		}
		w.fault("--sender", w.senderDir(), "exhibit refused: key-event")
		w.fault("--sender", w.senderDir(), "exhibit refused: receipt")
	},

	// The sender seals to no key that it did not enrol. Nothing is sealed, so
	// there is no message and no bundle; the KeyPackage stays, with the
	// operator's own key in it. It is the sender's record: the relay signs no
	// answer to a claim.
	"swap-package": func(w *lyingTown, v *victim) {
		before, err := w.sender.Messages()
		if err != nil {
			w.t.Fatal(err)
		}
		id, err := w.sender.Send(w.ctx, w.message(v.customer))
		if !errors.Is(err, client.ErrForeignPackage) || id != (sealpost.MessageID{}) {
			w.t.Fatalf("send: %v, %v", id, err)
		}
		after, err := w.sender.Messages()
		if err != nil || len(after) != len(before) {
			w.t.Errorf("something was sealed: %v", err)
		}
		if err := w.liar.Tell(""); err != nil {
			w.t.Fatal(err)
		}
		id = w.send(v.customer)
		v.receives(id)
		w.gathers(id, isComplete)
		w.closeSender()
		w.proves(id, evidence.Proven)
		f := w.fault("--sender", w.senderDir(), "its leaf key is not the enrolled one")
		info, err := mls.ParseKeyPackage(part(w.t, f.Parts[0]))
		if err != nil || !bytes.Equal(info.Credential.Identity, v.id[:]) {
			w.t.Errorf("the KeyPackage that was kept is not in the phone's name: %v", err)
		}
		if told := w.command(0, "doctor", "--sender", w.senderDir()); !strings.Contains(told, "1 kept; sealpost fault list") {
			w.t.Errorf("the doctor does not tell:\n%s", told)
		}
	},

	// The blob is not the committed one: the device signs a mismatch, the relay
	// logs it, and the sender holds it. Nothing shows that the message was opened
	// (10), and the refusal is claimed in the device's name.
	"drop-welcome": func(w *lyingTown, v *victim) {
		id := w.send(v.customer)
		v.refuses(sealpost.Mismatch, sealpost.ReasonBlob)
		w.gathers(id, func(st client.Status) bool { return isComplete(st) && st.End == sealpost.Refused })
		w.closeSender()
		refusal := []string{"asserts that what it opened does not match what was committed", "Its reason: another blob."}
		w.proves(id, evidence.Incomplete, append(refusal, "no logged receipt of level decrypted")...)
		if told := w.command(0, "message", "show", id.String(), "--sender", w.senderDir()); !strings.Contains(told, "mismatch by device") {
			w.t.Errorf("message show does not tell of the refusal:\n%s", told)
		}
		v.close()
		w.accuses(id, "--device", w.phoneDir(v.customer), evidence.Incomplete, refusal...)
		w.fault("--device", w.phoneDir(v.customer), "message refused (mismatch): another blob")
	},

	// The commitment fits the blob and is not the sender's: the device refuses it
	// and keeps it. The relay takes no receipt for a commitment that is not its
	// own, so the sender sees no end (10); what the device kept is signed and
	// promised by the relay's key alone, which anybody can check (40).
	"sign-commitment": func(w *lyingTown, v *victim) {
		id := w.send(v.customer)
		v.refuses(sealpost.Mismatch, sealpost.ReasonSenderKey)
		w.gathers(id, func(st client.Status) bool { return st.Logged > 0 })
		w.closeSender()
		w.proves(id, evidence.Incomplete, "outcome: it is not in the bundle")
		v.close()
		w.fault("--device", w.phoneDir(v.customer), "message refused (mismatch): not by the pinned sender key")
		w.accuses(id, "--device", w.phoneDir(v.customer), evidence.Refused,
			"it is the relay's statement key, which may sign no commitment; the relay promised to log it all the same")
	},

	// Nobody but the sender can sign another roster: the device refuses it, and
	// the sender refuses to take it for its own. Either can show it (40); without
	// it there is only a message that nobody opened (10).
	"edit-roster": func(w *lyingTown, v *victim) {
		id := w.send(v.customer)
		v.refuses(sealpost.Mismatch, sealpost.ReasonSenderKey)
		w.gathers(id, func(st client.Status) bool { return st.Logged > 0 })
		w.closeSender()
		w.fault("--sender", w.senderDir(), "another commitment under this message's id")
		w.proves(id, evidence.Incomplete, "outcome: it is not in the bundle")
		w.accuses(id, "--sender", w.senderDir(), evidence.Refused, "signature does not verify")
		v.close()
		w.fault("--device", w.phoneDir(v.customer), "message refused (mismatch): not by the pinned sender key")
		w.accuses(id, "--device", w.phoneDir(v.customer), evidence.Refused, "signature does not verify")
	},

	// The real relay counts the forged receipts and signs that the message was
	// delivered. The sender refuses them, so that its bundle lacks what the
	// outcome counts (10); with them it is refused, and says that they are logged
	// (40).
	"forge-receipt": func(w *lyingTown, v *victim) {
		id := w.send(v.customer)
		w.gathers(id, func(st client.Status) bool { return st.End == sealpost.Delivered && st.Logged == st.Exhibits })
		if got := v.fetch(); len(got) != 0 {
			w.t.Errorf("the message was not kept back: %+v", got)
		}
		w.closeSender()
		w.proves(id, evidence.Incomplete, "it counts the receipt", "no logged receipt of level decrypted")
		w.fault("--sender", w.senderDir(), "exhibit refused: receipt")
		w.accuses(id, "--sender", w.senderDir(), evidence.Refused,
			"signature does not verify; the relay logged it all the same",
			"it is the relay's statement key, which may sign no receipt; the relay logged it all the same")
	},

	// The device's refusal is not passed on, and the sender sees no end (10). The
	// device keeps it, with the relay's own promise to log it: once its time is
	// past, that and the log are proof of fault (10: it shows what is owed).
	"bury-refusal": func(w *lyingTown, v *victim) {
		id := w.send(v.customer)
		v.refuses(sealpost.Mismatch, sealpost.ReasonBlob)
		w.gathers(id, func(st client.Status) bool { return st.Logged > 0 && len(st.Receipts) == 0 })
		w.closeSender()
		w.proves(id, evidence.Incomplete, "outcome: it is not in the bundle")
		v.close()
		w.accuses(id, "--device", w.phoneDir(v.customer), evidence.Incomplete,
			"asserts that what it opened does not match what was committed", "Its reason: another blob.",
			"The relay promised at", "that the receipt")
		// Its time is an hour away. Then the receipt is still not in the log, and
		// the relay's next promise, to whomever, makes a proof of it.
		then := sealpost.FromTime(time.Now().Add(2 * time.Hour)).String()
		told := w.command(evidence.Incomplete.ExitCode(), "audit", "promises", filepath.Join(w.dir, "bundle.sealpost"),
			"--policy", filepath.Join(w.dir, "policy.json"), "--log", w.cfg.URL, "--at", then)
		if !strings.Contains(told, "receipt") || !strings.Contains(told, "it is not in the log, and nothing at hand that the relay signed after its time") {
			w.t.Errorf("the audit says:\n%s", told)
		}
	},

	// The sender holds the promise, and the next one says how far the log was after
	// its time: without the leaf, the two and the log's own leaves are proof of
	// fault (30), that anybody can judge with no relay and no store.
	"forget-message": func(w *lyingTown, v *victim) {
		id := w.send(v.customer)
		if err := w.liar.Tell(""); err != nil {
			w.t.Fatal(err)
		}
		w.closeSender()
		soon := sealpost.FromTime(time.Now().Add(time.Second)).String() // when what was promised at once is due
		told := w.command(evidence.Incomplete.ExitCode(), "audit", "promises", "--sender", w.senderDir(), "--at", soon)
		if !strings.Contains(told, "post anything to the relay and audit again") {
			w.t.Errorf("without a later word:\n%s", told)
		}
		w.openSender()
		next := w.send(v.customer)
		v.receives(next)
		w.gathers(next, isComplete)
		w.closeSender()
		proofs := filepath.Join(w.dir, "broken")
		told = w.command(evidence.Diverged.ExitCode(), "audit", "promises", "--sender", w.senderDir(), "-o", proofs)
		if !strings.Contains(told, "1 broken, 0 cannot be told") || !strings.Contains(told, "! "+id.String()+": broken promise") {
			w.t.Errorf("the audit says:\n%s", told)
		}
		w.proves(next, evidence.Proven)
		files, err := filepath.Glob(filepath.Join(proofs, id.String()+".*.sealpost"))
		if err != nil || len(files) != 1 {
			w.t.Fatalf("proofs: %v, %v", files, err)
		}
		policy := filepath.Join(w.dir, "policy.json")
		told = w.command(evidence.Diverged.ExitCode(), "verify", files[0], "--policy", policy)
		if !strings.Contains(told, "did not keep it: the relay signed at") || !strings.Contains(told, "# proof of fault: broken promise") {
			w.t.Errorf("the verdict says:\n%s", told)
		}
		w.stopped() // the log's public files are enough, in any copy
		for _, file := range []string{files[0], filepath.Join(w.dir, "bundle.sealpost")} {
			code := map[bool]int{true: evidence.Diverged.ExitCode()}[file == files[0]]
			w.command(code, "audit", "promises", file, "--policy", policy, "--log", w.cfg.logDir())
		}
	},

	// A device that sees a gap in the sender's numbers signs so on the message
	// that showed it, which is proven all the same (0); of the one that was kept
	// back nothing is (10).
	"drop-message": func(w *lyingTown, v *victim) {
		if err := w.liar.Tell(""); err != nil {
			w.t.Fatal(err)
		}
		v.receives(w.send(v.customer)) // from here on it counts
		if err := w.liar.Tell("drop-message"); err != nil {
			w.t.Fatal(err)
		}
		id, next := w.send(v.customer), w.send(v.customer)
		v.receives(next)
		w.gathers(next, isComplete)
		v.later(10 * time.Minute)
		v.fetch()
		w.gathers(next, func(st client.Status) bool {
			return isComplete(st) && slices.ContainsFunc(st.Receipts, func(r sealpost.Receipt) bool { return r.Level == sealpost.Gap })
		})
		w.gathers(id, func(st client.Status) bool { return st.Logged > 0 })
		w.closeSender()
		w.proves(id, evidence.Incomplete, "outcome: it is not in the bundle")
		w.proves(next, evidence.Proven, "asserts that earlier messages of this sender never came")
	},

	// Each outcome is by the relay's key and has a proof by the log's. The sender
	// holds both, and together they are proof of fault (30).
	"two-outcomes": func(w *lyingTown, v *victim) {
		id := w.send(v.customer)
		v.receives(id)
		w.gathers(id, isComplete)
		if _, err := w.sender.Sync(w.ctx, id); !errors.Is(err, client.ErrTwoOutcomes) {
			w.t.Errorf("sync: %v", err)
		}
		w.closeSender()
		w.proves(id, evidence.Diverged, "the relay signed two outcomes for "+id.String(), "# proof of fault")
		if told := w.command(0, "message", "list", "--sender", w.senderDir()); !strings.Contains(told, "two outcomes, proof of the relay's fault") {
			w.t.Errorf("message list does not tell:\n%s", told)
		}
	},
}

// part reads a part of a fault as it is printed.
func part(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sealpost lab relay lies as it says, on the data and with the keys of a
// configuration, and what it leaves is there for the other commands.
func TestLabRelayCommand(t *testing.T) {
	w := newTown(t, "")
	var line lyingLine
	w.relay = w.start("relay", &line, "lab", "relay", "--lie", "swap-package", "--config", filepath.Join(w.dir, relayFile))
	if line.Lie != "swap-package" || line.Tries == "" || line.URL == "" {
		t.Errorf("it says %+v", line)
	}
	senderAt := filepath.Join(w.dir, senderDir)
	invite := w.eventually("device", "invite", "--sender", senderAt, "--to", "+491511234567")
	w.eventually("device", "enroll", "--device", filepath.Join(w.dir, "device"), "--invite", strings.TrimSpace(invite), "--push", w.carrier.URL)
	for approved := ""; approved == ""; {
		approved = w.eventually("device", "approve", "--sender", senderAt)
	}
	ctx := w.within(readyWithin)
	for said := ""; !strings.Contains(said, "its leaf key is not the enrolled one"); { // once the phone's key is logged
		var out, errw bytes.Buffer
		code := run(ctx, []string{"send", "--sender", senderAt, "--to", "+491511234567", "--template", "otp", "--data", `{"code":"483920"}`}, nil, &out, &errw)
		if code == 0 || pause(ctx, pollFirst) != nil {
			t.Fatalf("exit %d, and this is kept: %s\n%s", code, said, errw.String())
		}
		said = w.eventually("fault", "list", "--sender", senderAt)
	}
	w.stop(w.relay)
	if words := string(mustRead(t, w.relay.log.Name())); !strings.Contains(words, "the operator could open 0 messages") {
		t.Errorf("it does not say what it could read:\n%s", words)
	}
}

// The relay's operator has root, the relay's keys and the real road behind the
// API, and lies to a sender and a phone over HTTP. It gets no plaintext and no
// proven bundle, and leaves evidence that others can judge offline.
func TestLyingRelay(t *testing.T) {
	for _, lie := range liar.Lies() {
		t.Run(lie.Name, func(t *testing.T) {
			t.Parallel()
			tell, known := toldLies[lie.Name]
			if !known {
				t.Fatal("nothing says what must come of this lie")
			}
			w := newLyingTown(t)
			honest := w.enrol("+49100")
			id := w.send(honest.customer)
			honest.receives(id)
			w.gathers(id, isComplete)
			v := w.enrol("+49200")
			w.closeSender()
			w.proves(id, evidence.Proven) // without this, nothing below proves anything
			if all := w.faults("--sender", w.senderDir()); len(all) != 0 {
				t.Fatalf("faults of an honest relay: %+v", all)
			}
			w.openSender()
			if err := w.liar.Tell(lie.Name); err != nil {
				t.Fatal(err)
			}
			tell(w, v)
			w.stopped()
			w.learnsNothing()
		})
	}
}
