#!/usr/bin/env node
// Sends records through npm's @fluent-org/logger: forward.js HOST:PORT|/PATH FILE [MODE]
//
// FILE has one JSON object per line: {"category": .., "body_base64": ..}. The category is the tag. Prints `acked N` for
// each, in order, when its chunk is acknowledged; tries again after an error. MODE is Message, Forward, PackedForward (the
// default) or CompressedPackedForward; with FLUENT_SHARED_KEY in the environment the handshake is made with that key; with
// LOGBOOM_TEST_CA (a PEM file) it is TLS, with a listener whose certificate that authority has signed.
// Needs `npm install @fluent-org/logger`.

const fs = require('fs');
const readline = require('readline');
const { FluentClient } = require('@fluent-org/logger');

const RETRY_MS = 100;

async function main() {
  const [address, file, eventMode = 'PackedForward'] = process.argv.slice(2);
  const [host, port] = address.split(/:(?=[^:]*$)/);
  const sharedKey = process.env.FLUENT_SHARED_KEY;
  const authority = process.env.LOGBOOM_TEST_CA;
  const client = new FluentClient(null, {
    eventMode,
    // It goes on waiting for acknowledgements when the connection is closed; that is seen to below.
    ack: { ackTimeout: 5000 },
    milliseconds: true,
    socket: {
      ...(port ? { host, port: Number(port) } : { path: host }),
      ...(authority && { tls: { ca: fs.readFileSync(authority) } }),
      timeout: 30000,
      reconnect: { backoff: 1, delay: RETRY_MS, minDelay: RETRY_MS, maxDelay: RETRY_MS },
    },
    ...(sharedKey && { security: { clientHostname: 'client', sharedKey } }),
  });
  client.socketOn('error', () => {});
  let lost = () => {};
  client.socketOn('close', () => lost());
  const lines = readline.createInterface({ input: fs.createReadStream(file) });
  let number = 0;
  for await (const line of lines) {
    const { category, body_base64 } = JSON.parse(line);
    const log = new Uint8Array(Buffer.from(body_base64, 'base64'));
    for (;;) {
      const closed = new Promise((_, reject) => { lost = () => reject(new Error('closed')); });
      try {
        await Promise.race([client.emit(category, { log }), closed]);
        break;
      } catch (error) {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    console.log(`acked ${number}`);
    number += 1;
  }
  process.exit(0);
}

// Where the client gives up for good, nothing is left to wait for.
process.exitCode = 1;
main();
