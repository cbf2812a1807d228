package lab

// The shapes below are the schemas of the vendor's discovery document
// (fcm v1, revision 20261023) that a send request can reach.

type valueKind int

const (
	kindString valueKind = iota
	kindBool
	kindInt
	kindNumber
	kindDuration  // google-duration: "60s"
	kindTimestamp // google-datetime: RFC 3339
	kindEnum
	kindMessage
	kindStrings   // array of string
	kindStringMap // object of string
	kindAny       // object of any value
)

// A slot is a value the rules in fcm_rules.go look at.
type slot int

const (
	slotNone slot = iota
	slotValidateOnly
	slotMessage
	slotFID
	slotToken
	slotTopic
	slotCondition
	slotData
	slotNotification
	slotAndroid
	slotAndroidV2
	slotAndroidData
	slotPriority
	slotTTL
	slotCollapseKey
)

type field struct {
	kind valueKind
	slot slot
	msg  *shape   // of a kindMessage
	enum []string // of a kindEnum
}

// A shape is the fields of one message by their camel case names.
type shape struct{ fields map[string]field }

func names(kind valueKind, list ...string) map[string]field {
	m := make(map[string]field, len(list))
	for _, n := range list {
		m[n] = field{kind: kind}
	}
	return m
}

// with adds single fields to a set of like ones.
func with(base map[string]field, more ...map[string]field) *shape {
	for _, m := range more {
		for n, f := range m {
			base[n] = f
		}
	}
	return &shape{fields: base}
}

func message(slot slot, msg *shape) field { return field{kind: kindMessage, slot: slot, msg: msg} }

var (
	shapeLabel = with(names(kindString, "analyticsLabel"))

	shapeColor = with(names(kindNumber, "red", "green", "blue", "alpha"))

	shapeLights = with(names(kindDuration, "lightOnDuration", "lightOffDuration"),
		map[string]field{"color": message(slotNone, shapeColor)})

	enumNotificationPriority = []string{"PRIORITY_UNSPECIFIED", "PRIORITY_MIN", "PRIORITY_LOW",
		"PRIORITY_DEFAULT", "PRIORITY_HIGH", "PRIORITY_MAX"}
	enumVisibility = []string{"VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"}
	enumProxy      = []string{"PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"}

	shapeAndroidNotificationV2 = with(androidNotificationFields(), names(kindInt, "id"))

	shapeAndroidNotification = with(androidNotificationFields(), names(kindBool, "bypassProxyNotification"),
		map[string]field{"proxy": {kind: kindEnum, enum: enumProxy}})

	shapeAndroid = with(androidFields(), map[string]field{
		"priority":     {kind: kindEnum, slot: slotPriority, enum: []string{"NORMAL", "HIGH"}},
		"notification": message(slotNotification, shapeAndroidNotification),
	})

	shapeRemoteNotification = with(names(kindBool, "mutableContent", "useAsV1DataMessage"),
		map[string]field{"notification": message(slotNotification, shapeAndroidNotificationV2)})

	shapeAndroidV2 = with(androidFields(), map[string]field{
		"backgroundSync":     message(slotNone, with(map[string]field{})),
		"remoteNotification": message(slotNone, shapeRemoteNotification),
	})

	shapeApns = with(names(kindString, "liveActivityToken"), names(kindStringMap, "headers"),
		names(kindAny, "payload"),
		map[string]field{"fcmOptions": message(slotNone, with(names(kindString, "analyticsLabel", "image")))})

	shapeWebpush = with(names(kindStringMap, "headers", "data"), names(kindAny, "notification"),
		map[string]field{"fcmOptions": message(slotNone, with(names(kindString, "analyticsLabel", "link")))})

	shapeMessage = with(names(kindString, "name"), map[string]field{
		"fid":          {kind: kindString, slot: slotFID},
		"token":        {kind: kindString, slot: slotToken},
		"topic":        {kind: kindString, slot: slotTopic},
		"condition":    {kind: kindString, slot: slotCondition},
		"data":         {kind: kindStringMap, slot: slotData},
		"notification": message(slotNotification, with(names(kindString, "title", "body", "image"))),
		"android":      message(slotAndroid, shapeAndroid),
		"androidV2":    message(slotAndroidV2, shapeAndroidV2),
		"apns":         message(slotNone, shapeApns),
		"webpush":      message(slotNone, shapeWebpush),
		"fcmOptions":   message(slotNone, shapeLabel),
	})

	shapeSend = with(map[string]field{
		"validateOnly": {kind: kindBool, slot: slotValidateOnly},
		"message":      message(slotMessage, shapeMessage),
	})
)

// androidFields are those android and androidV2 share.
func androidFields() map[string]field {
	return with(names(kindBool, "bandwidthConstrainedOk", "directBootOk", "restrictedSatelliteOk"),
		names(kindString, "restrictedPackageName"), map[string]field{
			"collapseKey": {kind: kindString, slot: slotCollapseKey},
			"data":        {kind: kindStringMap, slot: slotAndroidData},
			"ttl":         {kind: kindDuration, slot: slotTTL},
			"fcmOptions":  message(slotNone, shapeLabel),
		}).fields
}

// androidNotificationFields are those both notification versions share.
func androidNotificationFields() map[string]field {
	return with(names(kindString, "body", "bodyLocKey", "channelId", "clickAction", "color", "icon", "image",
		"sound", "tag", "ticker", "title", "titleLocKey"),
		names(kindStrings, "bodyLocArgs", "titleLocArgs", "vibrateTimings"),
		names(kindBool, "defaultLightSettings", "defaultSound", "defaultVibrateTimings", "localOnly", "sticky"),
		names(kindTimestamp, "eventTime"), names(kindInt, "notificationCount"),
		map[string]field{
			"lightSettings":        message(slotNone, shapeLights),
			"notificationPriority": {kind: kindEnum, enum: enumNotificationPriority},
			"visibility":           {kind: kindEnum, enum: enumVisibility},
		}).fields
}

// find looks a field up by its camel case or its snake case name: proto3 JSON
// accepts both.
func (s *shape) find(key []byte) (field, bool) {
	if f, ok := s.fields[string(key)]; ok {
		return f, true
	}
	camel, ok := camelCase(key)
	if !ok {
		return field{}, false
	}
	f, ok := s.fields[camel]
	return f, ok
}

func camelCase(key []byte) (string, bool) {
	out, up := make([]byte, 0, len(key)), false
	for _, c := range key {
		switch {
		case c == '_':
			up = true
			continue
		case 'A' <= c && c <= 'Z': // a snake case name has no capitals
			return "", false
		case up && 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		}
		out, up = append(out, c), false
	}
	return string(out), true
}
