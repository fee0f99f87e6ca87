#!/usr/bin/env node
// Sends records through npm's scribe: scribe.js HOST:PORT FILE
//
// FILE has one JSON object per line: {"category": .., "body_base64": ..}. Prints `acked N` for each when the server has
// answered OK; tries again after TRY_LATER or a broken connection. Needs `npm install scribe`. Its `send` tells nobody
// what became of a record, so this calls the Thrift client behind it, which does not wait for answers either. That client
// writes each character of a text as one byte.

const fs = require('fs');
const readline = require('readline');
const { Scribe } = require('scribe');
const { LogEntry } = require('scribe/lib/gen-nodejs/scribe_types');

const WINDOW = 100;
const RETRY_MS = 100;

const [host, port] = process.argv[2].split(/:(?=[^:]*$)/);
const entries = [];
const todo = [];
const waiting = new Set();
let left = 0;
let ended = false;
let scribe = null;

function finish() {
  if (ended && left === 0) process.exit(0);
}

function fill() {
  while (scribe && todo.length > 0 && waiting.size < WINDOW) {
    const number = todo.shift();
    const by = scribe;
    waiting.add(number);
    by.client.Log([entries[number]], (error, code) => {
      if (by !== scribe || !waiting.delete(number)) return;
      if (!error && code === 0) {
        entries[number] = null;
        console.log(`acked ${number}`);
        left -= 1;
        finish();
        fill();
      } else {
        todo.unshift(number);
        setTimeout(fill, RETRY_MS);
      }
    });
  }
}

function connect() {
  const next = new Scribe(host, port);
  const lost = () => {
    if (next.lost) return;
    next.lost = true;
    scribe = null;
    todo.unshift(...[...waiting].sort((a, b) => a - b));
    waiting.clear();
    setTimeout(connect, RETRY_MS);
  };
  next.on('error', () => {});
  next.open((error) => {
    if (error) return;
    scribe = next;
    fill();
  });
  next.connection.on('close', lost);
}

const lines = readline.createInterface({ input: fs.createReadStream(process.argv[3]) });
lines.on('line', (line) => {
  const { category, body_base64 } = JSON.parse(line);
  const bytes = (text, encoding) => Buffer.from(text, encoding).toString('latin1');
  todo.push(entries.length);
  entries.push(new LogEntry({ category: bytes(category, 'utf8'), message: bytes(body_base64, 'base64') }));
  left += 1;
  fill();
});
lines.on('close', () => {
  ended = true;
  finish();
});
connect();
