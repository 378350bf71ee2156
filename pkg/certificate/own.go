package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// makeOwn makes the own certificate if there is none, and takes away what others may do
// with it.
func (k *Keeper) makeOwn() error {
	unlock, err := lock(k.cfg.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(k.cfg.Dir, FileName)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key, err := makeKey()
		if err != nil {
			return err
		}
		if err := write(path, key, k.cfg.Names); err != nil {
			return err
		}
		k.log.Info("tls certificate made", "file", path)
		return nil
	case err != nil:
		return err
	case info.Mode().Perm()&0o077 != 0:
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		k.log.Warn("tls key was open to other users; mode set to 0600, consider: coderclaw tls renew --new-key", "file", path)
	}
	return nil
}

// renewOwn makes the next certificate, and puts it into the place of the current one,
// when it is time to.
func (k *Keeper) renewOwn() error {
	if shown := k.current.Load(); shown != nil && time.Until(shown.Leaf.NotAfter) > nextAhead {
		return nil
	}
	unlock, err := lock(k.cfg.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	path, next := filepath.Join(k.cfg.Dir, FileName), k.cfg.next()
	current, err := load(path, path)
	if err != nil {
		return fmt.Errorf("%w (move the file away to have a new one made, which clients must pin anew)", err)
	}
	left := time.Until(current.Leaf.NotAfter)
	if left > nextAhead {
		return nil
	}
	ready := ReadNext(k.cfg)
	if ready == nil || KeyFingerprint(ready) != KeyFingerprint(current.Leaf) || time.Until(ready.NotAfter) <= switchAhead {
		if err := write(next, current.PrivateKey, k.cfg.Names); err != nil {
			return err
		}
		if ready = ReadNext(k.cfg); ready == nil {
			return fmt.Errorf("%s cannot be read back", next)
		}
		k.log.Info("next tls certificate made", "fingerprint", Fingerprint(ready).String(), "from", SwitchAt(current.Leaf))
	}
	if left > switchAhead {
		return nil
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	k.log.Info("tls certificate renewed", "fingerprint", Fingerprint(ready).String(), "notAfter", ready.NotAfter)
	return syncDir(k.cfg.Dir)
}

// Renew replaces the own certificate at once. The key stays, unless newKey says that it
// has been lost to somebody: then every client has to pin the new one. A gateway that
// runs shows the new certificate to whoever connects next.
func Renew(cfg Config, newKey bool) (*x509.Certificate, error) {
	if !cfg.Own() {
		return nil, fmt.Errorf("the certificate is the file %s: renew it where it comes from; the gateway reads it without a restart", cfg.CertPath)
	}
	unlock, err := lock(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	path := filepath.Join(cfg.Dir, FileName)
	current, err := load(path, path)
	var key crypto.PrivateKey
	switch {
	case err == nil && !newKey:
		key = current.PrivateKey
	case err == nil || newKey || errors.Is(err, fs.ErrNotExist):
		if key, err = makeKey(); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%w (--new-key makes a new one, which clients must pin anew)", err)
	}
	if err := write(path, key, cfg.Names); err != nil {
		return nil, err
	}
	// What lay ready was made for what has been replaced.
	if err := os.Remove(cfg.next()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fresh, err := load(path, path)
	if err != nil {
		return nil, err
	}
	return fresh.Leaf, nil
}

// makeKey makes a P-256 key: every TLS client knows it, and a signature costs little.
func makeKey() (crypto.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return key, nil
}

// write makes a certificate for key and names and replaces path by both, complete at
// every moment and readable by the owner alone.
func write(path string, key crypto.PrivateKey, names []string) error {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return errors.New("the key cannot sign")
	}
	cert, err := sign(signer, names)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...)
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Chmod(0o600), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// sign returns a self-signed certificate that may only serve TLS.
func sign(key crypto.Signer, names []string) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	begin := time.Now().Add(-backdated).Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "CoderClaw gateway"},
		NotBefore: begin, NotAfter: begin.Add(validFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate for %q: %w", names, err)
	}
	return cert, nil
}

// lock makes the folder and takes its lock, which a gateway and a command share for the
// moment that a change takes.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
