// What the engines cost that one would pick instead: microseconds for each
// operation of two parties, suite 1, 200 bytes, the median of many. Run it after
// install.sh:
//
//   node bench.mjs ts-mls
import { webcrypto } from "node:crypto"

globalThis.crypto ??= webcrypto // Node 18

const print = console.log
console.log = console.info = console.warn = console.debug = console.error

const engines = { "ts-mls": "./ts-mls.mjs", "core-crypto": "./core-crypto.mjs" }
const { operations: engine } = await import(engines[process.argv[2]])

const suite = 1
const text = new Uint8Array(200)
const warm = 30 // runs before any is counted
const runs = 200

const random = (n) => crypto.getRandomValues(new Uint8Array(n))
const name = (n) => `${crypto.randomUUID()}:${n.toString(16)}@example.org`
const base64 = (b) => Buffer.from(b).toString("base64")

async function median(one) {
  const took = []
  for (let i = 0; i < warm + runs; i++) {
    const start = process.hrtime.bigint()
    const counted = await one(i)
    const end = counted ?? process.hrtime.bigint()
    if (i >= warm) took.push(Number(end - start) / 1000)
  }
  return Math.round(took.sort((a, b) => a - b)[runs / 2])
}

const client = (who, n) => engine.client({ who, suite, identity: name(n) })

async function createAndAdd(who, keyPackage) {
  await engine.create({ who, group: random(32) })
  return engine.commit({ who, proposals: [{ type: "add", keyPackage: base64(keyPackage) }] })
}

await client("bank", 1)
await client("phone", 2)
const figures = {}
figures["key package"] = await median(async () => void (await engine.keyPackage({ who: "phone" })))

await client("other", 3)
const { keyPackage } = await engine.keyPackage({ who: "other" })
figures["create and welcome"] = await median(async () => void (await createAndAdd("bank", keyPackage)))

await client("fresh phone", 4) // with few packages to look through
const fresh = await engine.keyPackage({ who: "fresh phone" })
const { welcome, tree } = await createAndAdd("bank", fresh.keyPackage)
await engine.join({ who: "fresh phone", welcome, tree })
figures["seal"] = await median(async () => {
  const { message } = await engine.seal({ who: "bank", plaintext: text })
  const end = process.hrtime.bigint()
  await engine.process({ who: "fresh phone", message })
  return end
})
const sealed = []
for (let i = 0; i < warm + runs; i++) sealed.push((await engine.seal({ who: "bank", plaintext: text })).message)
figures["open"] = await median(async (i) => void (await engine.process({ who: "fresh phone", message: sealed[i] })))

for (const [what, us] of Object.entries(figures)) print(`${process.argv[2]} ${what.padEnd(20)} ${String(us).padStart(7)} us`)
process.exit(0)
