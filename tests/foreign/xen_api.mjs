// Drives npm's xen-api for the tests: commands come as JSON lines, each gets one line back.
//
//   {"id":1,"do":"connect","url":"http://127.0.0.1:1","user":"root","password":"x"}
//   {"id":2,"do":"call","method":"VM.start","args":[..]}          through xapi.call
//   {"id":3,"do":"callAsync","method":"VM.start","args":[..]}     followed through task events
//   {"id":4,"do":"state"}                                         the client's own cache
//   -> {"id":4,"result":..} or {"id":4,"error":{"code":..,"params":[..],"message":..}}

import { createClient } from 'xen-api'
import { createInterface } from 'node:readline'

let xapi

const say = line => process.stdout.write(JSON.stringify(line) + '\n')

const COMMANDS = {
  async connect({ url, user, password, watch = true }) {
    xapi = createClient({
      allowUnauthorized: true,
      auth: { user, password },
      debounce: 20,
      eventPollDelay: 200, // after an error; the client's own minute is too long for a test
      url,
      watchEvents: watch,
    })
    await xapi.connect()
    if (watch) {
      await xapi.objectsFetched
    }
    return xapi.pool.$ref
  },

  call: ({ method, args }) => xapi.call(method, ...args),
  callAsync: ({ method, args }) => xapi.callAsync(method, ...args),

  // What it holds, by class and reference. Dates, which XML-RPC gives it, become ISO texts.
  state() {
    const state = {}
    for (const object of Object.values(xapi.objects.all)) {
      state[object.$type] ??= {}
      state[object.$type][object.$ref] = object
    }
    return state
  },

  barrier: async () => {
    await xapi.barrier()
  },
  disconnect: () => xapi.disconnect(),
}

const described = ({ code, params, message }) => ({ code, params, message })

// The client retries by itself after errors that it only logs; the log goes to the test's report.
console.warn = (...words) => console.error(...words.map(w => (w instanceof Error ? String(w) : w)))

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: name, ...options } = JSON.parse(line)
  Promise.resolve()
    .then(() => COMMANDS[name](options))
    .then(
      result => say({ id, result: result ?? null }),
      error => say({ id, error: described(error) })
    )
}
process.exit(0) // the client keeps timers and connections
