package control

// The datagrams of TestGoldenHandshake. Initiator's private key 32 × 0x11,
// responder's 32 × 0x22, preshared key 32 × 0x33; randomness 00 01 02 … at the
// initiator (ephemeral key, then sender index), 64 65 66 … at the responder
// (sender index, then ephemeral key; for the cookie secret, then nonce); wall
// clock 2026-11-22 13:00:00.123456789 UTC; payloads "question" and "answer".
// The cookie answers a second initiation, without payload.
const (
	goldenInitiation = `
		b0010000 20212223
		8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f
		395c4ef681d1c7dc7732f81196967b7eca3013713cc4bf609e4cda94d618f3a003c1b8f395906e9f299d283ab1054874
		1b57b3038cbc03b59d6c8415f0cd6bb72f399de5f4bd62250827f65266e469a6d17536ec
		b13603c2f25e57d41f8ac2bc01b36d3d 00000000000000000000000000000000`
	goldenResponse = `
		b0020000 64656667 20212223
		7e7c5c7029242d2c69a88b65a089dcdb61806bf92eb758b247df929ea18ac40e
		655a748fdc58f42e59da7b49d7bb27bc8bad14eda3cc5c508640
		2202195931163890b4aa536d1387f33d 00000000000000000000000000000000`
	goldenSealed     = `b0040000 64656667 0000000000000000 7e653f2fab6dedcb5511aaa111a91bd1b92be9e664`
	goldenSealedBack = `b0040000 20212223 0000000000000000 811ae5a27aeaa64cd6210a11898d2d6b61`
	goldenCookie     = `
		b0030000 44454647
		a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf
		bb1496d6aeeba8535fde217bb595505fa2f4da0cf3faec24b304f4dbb80479a7`
)
