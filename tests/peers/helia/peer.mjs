// A stock Helia in a process of its own: one JSON line answers each JSON line; it ends with its standard input.
// Files come back as their length and sha2-256, so that megabytes do not pass through the pipe.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { withBitswap } from '@helia/bitswap'
import { withHTTP } from '@helia/http'
import { withLibp2pLight } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import { createVerifiedFetchWithHelia } from '@helia/verified-fetch'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { createHelia, createHeliaLight } from 'helia'
import { CID } from 'multiformats/cid'

const state = {}
const patience = seconds => AbortSignal.timeout(1000 * seconds)

async function digest (chunks) {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of chunks) {
    hash.update(chunk)
    size += chunk.byteLength
  }
  return { bytes: size, sha256: hash.digest('hex') }
}

const calls = {
  // A node on TCP + Noise + yamux + bitswap, that knows nobody and asks nobody.
  async node () {
    const helia = withBitswap(withLibp2pLight(createHeliaLight({ dns: undefined }), {
      addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      services: { identify: identify() }
    }))
    state.helia = await helia.start()
    state.libp2p = state.helia.libp2p ?? helia.libp2p
    return { peer: state.libp2p.peerId.toString(), addresses: state.libp2p.getMultiaddrs().map(String) }
  },
  // A node that has HTTP alone: one gateway, one router.
  async http ({ gateway }) {
    state.helia = await withHTTP(createHeliaLight(), {
      delegatedRouters: [gateway],
      recursiveGateways: [gateway],
      allowInsecure: true,
      allowLocal: true
    }).start()
    return {}
  },
  async connect ({ address }) {
    await state.libp2p.dial(multiaddr(address), { signal: patience(20) })
    return {}
  },
  async block ({ cid, patience_s: seconds = 30 }) {
    const found = await state.helia.blockstore.get(CID.parse(cid), { signal: patience(seconds) })
    return await digest(Symbol.asyncIterator in found || Symbol.iterator in found && !(found instanceof Uint8Array) ? found : [found])
  },
  async cat ({ cid, patience_s: seconds = 60 }) {
    const started = performance.now()
    const facts = await digest(unixfs(state.helia).cat(CID.parse(cid), { signal: patience(seconds) }))
    return { ...facts, wall_s: (performance.now() - started) / 1000 }
  },
  async add ({ file, chunk_bytes: chunkSize, links }) {
    const cid = await unixfs(state.helia).addByteStream(createReadStream(file), {
      cidVersion: 1,
      rawLeaves: true,
      reduceSingleLeafToSelf: true,
      chunker: fixedSize({ chunkSize }),
      layout: balanced({ maxChildrenPerNode: links })
    })
    return { cid: cid.toString() }
  },
  async put ({ data }) {
    const { sha256 } = await import('multiformats/hashes/sha2')
    const bytes = Buffer.from(data, 'base64')
    const cid = CID.createV1(0x55, await sha256.digest(bytes))
    await state.helia.blockstore.put(cid, bytes)
    return { cid: cid.toString() }
  },
  async fetch ({ gateway, url, headers = {} }) {
    // On a Helia with HTTP alone: by itself it would start a libp2p node and look for public peers.
    if (state.helia == null) await calls.http({ gateway })
    state.fetch ??= await createVerifiedFetchWithHelia(state.helia)
    const answer = await state.fetch(url, { headers, signal: patience(60) })
    return { status: answer.status, ...await digest(answer.body ?? []) }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { call, ...parameters } = JSON.parse(line)
  let answer
  try {
    answer = await calls[call](parameters)
  } catch (err) {
    answer = { error: `${err.name}: ${err.message}` }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
process.exit(0)
