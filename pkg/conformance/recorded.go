package conformance

import (
	"context"
	"encoding/json"
	"fmt"
)

// connectParams keeps connect's params member by member, so that those which the
// replay does not touch, unknown ones included, go out as recorded.
type connectParams map[string]json.RawMessage

// handshake reads what the signature covers.
func (p connectParams) handshake() (handshake, error) {
	var view struct {
		Client struct{ ID, Mode string }
		Role   string
		Scopes []string
		Auth   struct{ Token string }
		Device *deviceProof
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return handshake{}, err
	}
	if err := json.Unmarshal(raw, &view); err != nil {
		return handshake{}, fmt.Errorf("recorded connect params: %w", err)
	}
	return handshake{clientID: view.Client.ID, clientMode: view.Client.Mode, role: view.Role, scopes: view.Scopes,
		token: view.Auth.Token, device: view.Device}, nil
}

// set replaces a member.
func (p connectParams) set(name string, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		panic("conformance: " + err.Error()) // our own values always encode
	}
	p[name] = raw
}

// resign returns a recorded connect request with our secrets, our device and a
// fresh signature. A handshake without a device stays as it was but for the token.
func (r *replay) resign(raw, id json.RawMessage) (json.RawMessage, error) {
	var request map[string]json.RawMessage
	if err := json.Unmarshal(raw, &request); err != nil {
		return nil, err
	}
	if request["params"] == nil {
		return raw, nil
	}
	var params connectParams
	if err := json.Unmarshal(request["params"], &params); err != nil {
		return nil, err
	}
	h, err := params.handshake()
	if err != nil {
		return nil, err
	}
	var wrong defects
	if h.device != nil {
		if wrong, err = h.findDefects(r.recorded); err != nil {
			return nil, err
		}
	}
	answer, _ := r.recordedAnswer(id)
	switch {
	case h.token == recordedToken:
		h.token = r.target.Token
	case r.t.info.Pair != nil && h.token != "" && answer.OK:
		h.token = r.deviceToken
	case h.token == "" && r.t.info.Action != "":
		// Recorded under a mode that we do not have; see EXCEPTIONS.md.
		h.token = r.target.Token
	}
	if h.token != "" {
		params.set("auth", map[string]string{"token": h.token})
	}
	if h.device != nil {
		params.set("device", r.device.prove(h, r.live, wrong))
	}
	request["params"], err = json.Marshal(params)
	if err != nil {
		return nil, err
	}
	return json.Marshal(request)
}

// opening returns the recorded connect params, to be varied.
func (r *replay) opening() (connectParams, error) {
	for _, s := range r.t.steps {
		var f struct {
			Method string
			Params connectParams
		}
		if s.Dir == "c2s" && json.Unmarshal(s.Frame, &f) == nil && f.Method == "connect" {
			return f.Params, nil
		}
	}
	return nil, fmt.Errorf("the recording has no connect")
}

// pair connects once with the shared secret and the scopes that the recorded
// device had been paired with.
func (r *replay) pair(ctx context.Context) error {
	params, err := r.opening()
	if err != nil {
		return err
	}
	answer, err := r.connectOnce(ctx, params, r.t.info.Pair, r.target.Token)
	if err != nil {
		return err
	}
	if !answer.OK {
		return fmt.Errorf("refused with %s", told(answer))
	}
	var hello struct {
		Auth struct{ DeviceToken string }
	}
	if err := json.Unmarshal(answer.Payload, &hello); err != nil {
		return err
	}
	r.deviceToken = hello.Auth.DeviceToken
	return nil
}

// guess connects once with a wrong secret and no device.
func (r *replay) guess(ctx context.Context) error {
	params, err := r.opening()
	if err != nil {
		return err
	}
	delete(params, "device")
	answer, err := r.connectOnce(ctx, params, nil, "a wrong secret")
	if err == nil && answer.OK {
		err = fmt.Errorf("the gateway accepts it")
	}
	return err
}

// connectOnce opens a connection of its own, connects, and returns the answer.
func (r *replay) connectOnce(ctx context.Context, params connectParams, scopes []string, token string) (frame, error) {
	url := r.target.URL
	if r.t.info.Remote {
		url = r.target.RemoteURL
	}
	c, err := dial(ctx, r.target, url, nil)
	if err != nil {
		return frame{}, err
	}
	defer c.close()
	f, _, err := c.await(ctx, "connect.challenge", 0, func(f frame) bool { return f.Event == "connect.challenge" })
	if err != nil {
		return frame{}, err
	}
	var live challenge
	if err := json.Unmarshal(f.Payload, &live); err != nil {
		return frame{}, err
	}
	if scopes != nil {
		params.set("scopes", scopes)
	}
	params.set("auth", map[string]string{"token": token})
	if params["device"] != nil {
		h, err := params.handshake()
		if err != nil {
			return frame{}, err
		}
		params.set("device", r.device.prove(h, live, defects{}))
	}
	request, err := json.Marshal(map[string]any{"type": "req", "id": "before", "method": "connect", "params": params})
	if err != nil {
		return frame{}, err
	}
	if err := c.send(ctx, request); err != nil {
		return frame{}, err
	}
	answer, _, err := c.response(ctx, json.RawMessage(`"before"`), 0)
	return answer, err
}
