package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const honestSend = `{"validate_only":false,"message":{"token":"abc","data":{"b":"AAAA"},` +
	`"android":{"priority":"HIGH","ttl":"60s","collapseKey":"x"}}}`

func TestReadSend(t *testing.T) {
	for name, body := range map[string]string{
		"ours":           honestSend,
		"snake case":     `{"message":{"fid":"x","android":{"collapse_key":"k","direct_boot_ok":true}}}`,
		"white space":    " {\n\t\"message\" : { \"topic\" : \"news\" } }\r\n",
		"the SDK's case": `{"message":{"token":"x","android":{"priority":"high","notification":{"visibility":"private"}}}}`,
		"null":           `{"message":{"token":"x","data":null,"android":null}}`,
		"escapes":        `{"message":{"token":"x","data":{"k\u0041":"\"\\\n\u00e4"}}}`,
		"fraction":       `{"message":{"token":"x","android":{"ttl":"3.000000001s"}}}`,
		"every branch":   `{"message":{"token":"x","notification":{"title":"t"},"androidV2":{"remoteNotification":{"mutableContent":true,"notification":{"id":7,"bodyLocArgs":["a","b"],"lightSettings":{"color":{"red":0.5,"alpha":"1"},"lightOnDuration":"1s"},"eventTime":"2026-11-23T10:00:00.5Z","visibility":"SECRET"}},"backgroundSync":{}},"apns":{"headers":{"apns-priority":"5"},"payload":{"aps":{"x":[1,2,{"y":null}]}}},"webpush":{"fcmOptions":{"link":"https://x"}}}}`,
	} {
		if _, err := readSend([]byte(body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := readSend([]byte(honestSend))
	if err != nil {
		t.Fatal(err)
	}
	if got.token != "abc" || got.priority != "HIGH" || got.ttl != time.Minute || got.collapseKey != "x" ||
		fmt.Sprint(got.data) != "[{b AAAA}]" || !got.android || got.androidV2 || got.validateOnly {
		t.Errorf("read as %+v", got)
	}
}

// Duplicate keys: the last one wins.
func TestLastKeyWins(t *testing.T) {
	got, err := readSend([]byte(`{"message":{"token":"a","token":"b","data":{"k":"1","j":"2","k":"3"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got.token != "b" || fmt.Sprint(got.data) != "[{k 3} {j 2}]" {
		t.Errorf("read as %+v", got)
	}
}

// What the schema refuses comes with the field it is about.
func TestViolations(t *testing.T) {
	big := strings.Repeat("x", FCMDataMax-1)
	topic := strings.Repeat("x", FCMTopicDataMax-1)
	for _, honest := range []string{
		`{"message":{"token":"x","data":{"b":"` + big + `"}}}`,
		`{"message":{"topic":"x","data":{"b":"` + topic + `"}}}`,
	} {
		if _, err := readSend([]byte(honest)); err != nil {
			t.Fatalf("the largest data: %v", err)
		}
	}
	for body, field := range map[string]string{
		`{"message":{"token":"x"},"extra":1}`:                      "",
		`{"message":{"token":"x","recipient":"y"}}`:                "message",
		`{"message":{"token":"x","android":{"prio":"HIGH"}}}`:      "message.android",
		`{"message":{"Token":"x"}}`:                                "message",
		`{"message":{"token":"x","android":{"Collapse_key":"x"}}}`: "message.android",
		`{}`:                                    "message",
		`{"message":{}}`:                        "message",
		`{"message":{"token":"x","fid":"y"}}`:   "message",
		`{"message":{"token":"x","topic":"y"}}`: "message",
		`{"message":{"token":"x","android":{},"androidV2":{}}}`:                             "message.android",
		`{"message":{"token":7}}`:                                                           "message.token",
		`{"message":{"token":"x","data":{"n":1}}}`:                                          "message.data[0].value",
		`{"message":{"token":"x","data":["a"]}}`:                                            "message.data",
		`{"message":"x"}`:                                                                   "message",
		`{"validateOnly":"true","message":{"token":"x"}}`:                                   "validateOnly",
		`{"message":{"token":"x","android":{"priority":"urgent"}}}`:                         "message.android.priority",
		`{"message":{"token":"x","android":{"ttl":"1m"}}}`:                                  "message.android.ttl",
		`{"message":{"token":"x","android":{"ttl":"60"}}}`:                                  "message.android.ttl",
		`{"message":{"token":"x","android":{"ttl":60}}}`:                                    "message.android.ttl",
		`{"message":{"token":"x","android":{"ttl":"1.0000000001s"}}}`:                       "message.android.ttl",
		`{"message":{"token":"x","android":{"ttl":"-1s"}}}`:                                 "message.android.ttl",
		`{"message":{"token":"x","android":{"ttl":"2419201s"}}}`:                            "message.android.ttl",
		`{"message":{"token":"x","android":{"notification":{"notificationCount":1.5}}}}`:    "message.android.notification.notificationCount",
		`{"message":{"token":"x","androidV2":{"priority":"HIGH"}}}`:                         "message.androidV2",
		`{"message":{"token":"x","data":{"from":"y"}}}`:                                     "message.data",
		`{"message":{"token":"x","data":{"message_type":"y"}}}`:                             "message.data",
		`{"message":{"token":"x","data":{"google.x":"y"}}}`:                                 "message.data",
		`{"message":{"token":"x","data":{"gcm.notification.x":"y"}}}`:                       "message.data",
		`{"message":{"token":"x","data":{"b":"` + big + `x"}}}`:                             "message.data",
		`{"message":{"topic":"x","data":{"b":"` + topic + `x"}}}`:                           "message.data",
		`{"message":{"token":"x","data":{"a":"b"},"android":{"data":{"b":"` + big + `"}}}}`: "message.data",
	} {
		_, err := readSend([]byte(body))
		v, ok := errors.AsType[*violation](err)
		if !ok || v.Field != field {
			t.Errorf("%.80s: %v (%T), want a violation of %q", body, err, err, field)
		}
	}
}

func TestNotJSON(t *testing.T) {
	deep := strings.Repeat(`{"x":`, 40) + "1" + strings.Repeat("}", 40)
	for _, body := range []string{
		"", "null", "[]", "{", `{"message":{"token":"x"}`, `{"message":{"token":"x"}}x`, `{"message":{"token":"x",}}`,
		`{"message":{"token":"x"} "validateOnly":true}`, `{"message":{"token":"x}}`,
		"{\"message\":{\"token\":\"a\nb\"}}", "{\"message\":{\"token\":\"\xff\"}}", `{"message":{"token":"\x"}}`,
		`{"validateOnly":tru,"message":{"token":"x"}}`, `{"message":{"token":"x","apns":{"payload":` + deep + `}}}`,
		`{"message":{"token":"x","apns":{"payload":{"a":01}}}}`, `{message:{}}`,
	} {
		if _, err := readSend([]byte(body)); err == nil {
			t.Errorf("%.60q was accepted", body)
		} else if v, ok := errors.AsType[*violation](err); ok {
			t.Errorf("%.60q: violation of %q, want a syntax error", body, v.Field)
		}
	}
}

// Accepted bytes are JSON, and mean to encoding/json what they mean here.
func FuzzReadSend(f *testing.F) {
	for _, s := range []string{
		honestSend, `{"message":{"fid":"x","data":{"k":"\u00e4"}}}`, `{"message":{"token":"a","token":"b"}}`,
		`{"message":{"topic":"t","apns":{"payload":{"a":[1,-2.5e3,true,null,"s"]}}}}`,
		`{"message":{"token":"x","android":{"ttl":"1.5s"}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := readSend(body)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("accepted what is not JSON: %q", body)
		}
		if got.ttl < 0 || got.ttl > FCMTTLMax {
			t.Fatalf("ttl %v", got.ttl)
		}
		var again struct{ Message map[string]json.RawMessage }
		if json.Unmarshal(body, &again) != nil || len(again.Message["token"]) < 2 || again.Message["token"][0] != '"' {
			return
		}
		var token string
		if err := json.Unmarshal(again.Message["token"], &token); err != nil || token != got.token {
			t.Fatalf("token %q, encoding/json reads %q", got.token, token)
		}
	})
}
