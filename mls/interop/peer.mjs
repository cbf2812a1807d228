// A foreign MLS engine behind JSON lines: one request on stdin, one answer on
// stdout, in order. Byte strings are base64. An error of the engine is an answer
// too; only a line that is no request ends the process.
//
//   {"do":"seal","who":"bob","plaintext":"aGk="}  ->  {"ok":{"message":"…"}}
//                                                 or  {"error":"…"}
import { createInterface } from "node:readline"
import { webcrypto } from "node:crypto"

globalThis.crypto ??= webcrypto // Node 18

const lineMax = 4 << 20 // characters in one line

// Nothing but answers goes to stdout, whatever an engine likes to print.
console.log = console.info = console.warn = console.debug = console.error

const engines = { "ts-mls": "./ts-mls.mjs", "core-crypto": "./core-crypto.mjs" }
const { operations } = await import(engines[process.argv[2]])

const bytesIn = new Set(["group", "keyPackage", "welcome", "message", "plaintext", "aad", "context", "groupInfo", "tree", "senderKey", "id", "secret"])

function read(line) {
  const request = JSON.parse(line)
  for (const [name, value] of Object.entries(request)) {
    if (bytesIn.has(name)) request[name] = new Uint8Array(Buffer.from(value ?? "", "base64"))
  }
  return request
}

function write(answer) {
  const line = JSON.stringify(answer, (_, value) => {
    if (value instanceof Uint8Array) return Buffer.from(value).toString("base64")
    return typeof value === "bigint" ? Number(value) : value
  })
  process.stdout.write(line + "\n")
}

// what an error says, with what the engine hides in its causes
function say(e) {
  const parts = []
  for (let x = e; x && parts.length < 4; x = x.cause) {
    const inner = x.inner === undefined ? "" : " " + JSON.stringify(x.inner, (_, v) => (typeof v === "bigint" ? String(v) : v instanceof Uint8Array ? Buffer.from(v).toString("hex") : v))
    parts.push(`${x.name ?? "Error"} ${x.tag ?? ""} ${x.message ?? x}${inner}`)
  }
  return parts.join("; ")
}

for await (const line of createInterface({ input: process.stdin })) {
  if (line.length > lineMax) throw new Error(`line of ${line.length} characters`)
  const request = read(line)
  try {
    const operation = operations[request.do]
    if (operation === undefined) throw new Error(`not offered: ${request.do}`)
    write({ ok: (await operation(request)) ?? {} })
  } catch (e) {
    write({ error: say(e) })
  }
}
