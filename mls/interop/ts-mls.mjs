// ts-mls, an independent engine in TypeScript.
import * as mls from "ts-mls"
import { createGroupInfoWithRatchetTree } from "ts-mls/createCommit.js"
import { encode as encodeBytes } from "ts-mls/codec/tlsEncoder.js"
import { decodeRatchetTree, ratchetTreeEncoder } from "ts-mls/ratchetTree.js"
import { p256, p384, p521 } from "@noble/curves/nist.js"

const suites = {
  1: "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
  2: "MLS_128_DHKEMP256_AES128GCM_SHA256_P256",
  3: "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519",
  5: "MLS_256_DHKEMP521_AES256GCM_SHA512_P521",
  7: "MLS_256_DHKEMP384_AES256GCM_SHA384_P384",
}
const curves = { 2: p256, 5: p521, 7: p384 }
const publicKeySize = { 1: 32, 2: 65, 3: 32, 5: 133, 7: 97 } // bytes of an HPKE public key

const clients = new Map() // by name: its key packages, its group, its pre-shared keys

function client(r) {
  const c = clients.get(r.who)
  if (c === undefined) throw new Error(`nobody is called ${r.who}`)
  return c
}

function decode(bytes, wireformat) {
  const [message, used] = mls.decodeMlsMessage(bytes, 0) ?? []
  if (message === undefined) throw new Error("does not decode")
  if (used !== bytes.length) throw new Error(`${bytes.length - used} bytes too many`)
  if (wireformat !== undefined && message.wireformat !== wireformat) throw new Error(`a ${message.wireformat}, want a ${wireformat}`)
  return message
}

const encode = (wireformat, field, value) => mls.encodeMlsMessage({ version: "mls10", wireformat, [field]: value })

async function newClient(who, suite, identity, compressed) {
  const impl = await mls.getCiphersuiteImpl(mls.getCiphersuiteFromName(suites[suite]))
  const c = { who, suite, impl, compressed, identity, packages: [], psks: new Map() }
  c.signature = await signatureKey(c)
  clients.set(who, c)
  return c
}

// ts-mls makes compressed signature keys of its own, which RFC 9420 5.1.1
// does not allow, so the key comes from here.
async function signatureKey(c) {
  const curve = curves[c.suite]
  if (curve === undefined) return c.impl.signature.keygen()
  const signKey = curve.utils.randomSecretKey()
  return { signKey, publicKey: curve.getPublicKey(signKey, c.compressed === true) }
}

async function freshKeyPackage(c) {
  const now = BigInt(Math.floor(Date.now() / 1000)) // its default lifetime is for ever
  const lifetime = { notBefore: now - 3600n, notAfter: now + 28n * 86400n }
  const credential = { credentialType: "basic", identity: c.identity }
  return mls.generateKeyPackageWithKey(credential, mls.defaultCapabilities(), lifetime, [], c.signature, c.impl)
}

const pskIndex = (c) => mls.makePskIndex(c.state, Object.fromEntries(c.psks))

function proposal(c, p) {
  const bytes = (b64) => new Uint8Array(Buffer.from(b64, "base64"))
  switch (p.type) {
    case "add":
      return { proposalType: "add", add: { keyPackage: decode(bytes(p.keyPackage), "mls_key_package").keyPackage } }
    case "remove":
      return { proposalType: "remove", remove: { removed: p.leaf } }
    case "psk":
      return {
        proposalType: "psk",
        psk: { preSharedKeyId: { psktype: "external", pskId: bytes(p.id), pskNonce: c.impl.rng.randomBytes(c.impl.kdf.size) } },
      }
    case "resumption":
      return {
        proposalType: "psk",
        psk: {
          preSharedKeyId: {
            psktype: "resumption", usage: "application", pskGroupId: c.state.groupContext.groupId,
            pskEpoch: BigInt(p.epoch), pskNonce: c.impl.rng.randomBytes(c.impl.kdf.size),
          },
        },
      }
    case "extensions": // required_capabilities of 11.1: credentials basic and x509
      return {
        proposalType: "group_context_extensions",
        groupContextExtensions: { extensions: [{ extensionType: "required_capabilities", extensionData: Uint8Array.of(0, 0, 4, 0, 1, 0, 2) }] },
      }
    case "reinit":
      return {
        proposalType: "reinit",
        reinit: { groupId: bytes(p.group), version: "mls10", cipherSuite: suites[p.suite], extensions: [] },
      }
  }
  throw new Error(`not offered: a proposal to ${p.type}`)
}

const removed = (c) => c.state.groupActiveState.kind === "removedFromGroup"

// ExternalPub of RFC 9420 12.4.3.2 has its length before the key. ts-mls leaves
// that out, so a group info is put together here, and one that it is given loses
// the length while ts-mls reads the key.
async function groupInfo(c) {
  const { publicKey } = await c.impl.hpke.deriveKeyPair(c.state.keySchedule.externalSecret)
  const key = await c.impl.hpke.exportPublicKey(publicKey)
  const external = { extensionType: "external_pub", extensionData: Uint8Array.of(...lengthOf(key), ...key) }
  return createGroupInfoWithRatchetTree(c.state.groupContext, c.state.confirmationTag, c.state, c.state.ratchetTree, [external], c.impl)
}

const lengthOf = (key) => (key.length < 64 ? [key.length] : [0x40, key.length]) // 2.1.2

function readingExternalPub(c) {
  const size = publicKeySize[c.suite]
  const importPublicKey = (key) => c.impl.hpke.importPublicKey(key.length > size ? key.slice(-size) : key)
  return { ...c.impl, hpke: { ...c.impl.hpke, importPublicKey } }
}

const tree = (r) => (r.tree?.length > 0 ? decodeRatchetTree(r.tree, 0)[0] : undefined)

const sentBy = (c, commit, welcome) => ({
  commit: mls.encodeMlsMessage(commit),
  welcome: welcome && encode("mls_welcome", "welcome", welcome),
  tree: encodeBytes(ratchetTreeEncoder)(c.state.ratchetTree),
})

export const operations = {
  async client(r) {
    await newClient(r.who, r.suite, new TextEncoder().encode(r.identity), r.compressed)
  },

  async keyPackage(r) {
    const c = client(r)
    const kp = await freshKeyPackage(c)
    c.packages.push(kp)
    return { keyPackage: encode("mls_key_package", "keyPackage", kp.publicPackage) }
  },

  async create(r) {
    const c = client(r)
    const kp = await freshKeyPackage(c)
    c.state = await mls.createGroup(r.group, kp.publicPackage, kp.privatePackage, [], c.impl)
  },

  async join(r) {
    const c = client(r)
    const { welcome } = decode(r.welcome, "mls_welcome")
    let why
    for (const kp of c.packages) {
      try {
        c.state = await mls.joinGroup(welcome, kp.publicPackage, kp.privatePackage, mls.makePskIndex(undefined, Object.fromEntries(c.psks)), c.impl, tree(r))
        c.packages = c.packages.filter((x) => x !== kp)
        return
      } catch (e) {
        why = e // it may be for another of its packages
      }
    }
    throw why ?? new Error("no key package")
  },

  psk(r) {
    client(r).psks.set(mls.bytesToBase64(r.id), r.secret)
  },

  async commit(r) {
    const c = client(r)
    const { newState, commit, welcome } = await mls.createCommit(
      { state: c.state, cipherSuite: c.impl, pskIndex: pskIndex(c) },
      {
        wireAsPublicMessage: !r.encrypted,
        extraProposals: (r.proposals ?? []).map((p) => proposal(c, p)),
        ratchetTreeExtension: !r.withoutTree,
        authenticatedData: r.aad ?? new Uint8Array(),
      },
    )
    c.state = newState
    return sentBy(c, commit, welcome)
  },

  async propose(r) {
    const c = client(r)
    const { newState, message } = await mls.createProposal(c.state, !r.encrypted, proposal(c, r.proposal), c.impl)
    c.state = newState
    return { message: mls.encodeMlsMessage(message) }
  },

  async process(r) {
    const c = client(r)
    const m = decode(r.message)
    if (m.wireformat === "mls_public_message") {
      const kind = m.publicMessage.content.contentType
      c.state = (await mls.processPublicMessage(c.state, m.publicMessage, pskIndex(c), c.impl)).newState
      return { kind, removed: removed(c) }
    }
    if (m.wireformat !== "mls_private_message") throw new Error(`a ${m.wireformat}`)
    const result = await mls.processPrivateMessage(c.state, m.privateMessage, pskIndex(c), c.impl)
    c.state = result.newState
    return { kind: m.privateMessage.contentType, plaintext: result.message, aad: m.privateMessage.authenticatedData, removed: removed(c) }
  },

  async seal(r) {
    const c = client(r)
    const { newState, privateMessage } = await mls.createApplicationMessage(c.state, r.plaintext, c.impl, r.aad)
    c.state = newState
    return { message: encode("mls_private_message", "privateMessage", privateMessage) }
  },

  async state(r) {
    const c = client(r)
    return {
      epoch: c.state.groupContext.epoch,
      authenticator: c.state.keySchedule.epochAuthenticator,
    }
  },

  async export(r) {
    const c = client(r)
    return { secret: await mls.mlsExporter(c.state.keySchedule.exporterSecret, r.label, r.context, r.length, c.impl) }
  },

  async groupInfo(r) {
    return { groupInfo: encode("mls_group_info", "groupInfo", await groupInfo(client(r))) }
  },

  async externalJoin(r) {
    const c = client(r)
    const kp = await freshKeyPackage(c)
    const { publicMessage, newState } = await mls.joinGroupExternal(
      decode(r.groupInfo, "mls_group_info").groupInfo, kp.publicPackage, kp.privatePackage, r.resync === true, readingExternalPub(c))
    c.state = newState
    return { commit: encode("mls_public_message", "publicMessage", publicMessage) }
  },

  // the same identity for another group, perhaps of another suite
  async beside(r) {
    const c = client(r)
    const next = await newClient(r.as, r.suite, c.identity)
    if (next.suite === c.suite) next.signature = c.signature
  },

  // makes the group that follows the one it is in, or branches off it
  async resume(r) {
    const c = client(r)
    const next = clients.get(r.as)
    const kp = await freshKeyPackage(next)
    const others = r.keyPackages.map((b64) => decode(new Uint8Array(Buffer.from(b64, "base64")), "mls_key_package").keyPackage)
    const { newState, commit, welcome } = await (r.branch
      ? mls.branchGroup(c.state, kp.publicPackage, kp.privatePackage, others, r.group, next.impl)
      : mls.reinitCreateNewGroup(c.state, kp.publicPackage, kp.privatePackage, others, r.group, suites[r.suite], []))
    next.state = newState
    return sentBy(next, commit, welcome)
  },

  async joinFrom(r) {
    const c = client(r)
    const next = clients.get(r.as)
    const { welcome } = decode(r.welcome, "mls_welcome")
    const { publicPackage, privatePackage } = next.packages.pop()
    next.state = await (r.branch
      ? mls.joinGroupFromBranch(c.state, welcome, publicPackage, privatePackage, tree(r), next.impl)
      : mls.joinGroupFromReinit(c.state, welcome, publicPackage, privatePackage, tree(r)))
  },

  // a proposal by which somebody outside asks to be added
  async askToJoin(r) {
    const c = client(r)
    const kp = await freshKeyPackage(c)
    c.packages.push(kp)
    const message = await mls.proposeAddExternal(decode(r.groupInfo, "mls_group_info").groupInfo, kp.publicPackage, kp.privatePackage, c.impl)
    return { message: mls.encodeMlsMessage(message) }
  },
}
