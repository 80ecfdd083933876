#!/usr/bin/env node
// Tokenizes two values, rehydrates their tokens, and handles an error. Needs Node's own modules only.
//
//     MASKER_SOCKET=/run/masker/masker.sock node client.mjs

import http from 'node:http';

/** A request or an item that failed, with the stable code of its failure. */
class MaskerError extends Error {
  constructor({ code, detail, request_id: requestId }) {
    super(`${code}: ${detail}${requestId ? ` (request ${requestId})` : ''}`);
    this.code = code;
  }
}

/** Returns the result of an item that must not fail. */
function checked(result) {
  if (result.error) throw new MaskerError(result.error);
  return result;
}

class Masker {
  // Repeating these has no effect that one request would not have had.
  static repeatable = new Set(['tokenize', 'rehydrate', 'lookup', 'rewrap']);

  constructor(socketPath, timeout = 30_000) {
    this.socketPath = socketPath;
    this.timeout = timeout;
    this.agent = new http.Agent({ keepAlive: true });
  }

  tokenize(items) {
    return this.#post('tokenize', { items });
  }

  rehydrate(tokens) {
    return this.#post('rehydrate', { tokens });
  }

  close() {
    this.agent.destroy();
  }

  async #post(operation, body) {
    try {
      return await this.#send(operation, body);
    } catch (failure) {
      // The daemon closes idle connections, and all of them when it restarts.
      const lost = failure.code === 'ECONNRESET' || failure.code === 'EPIPE';
      if (!lost || !Masker.repeatable.has(operation)) throw failure;
      return this.#send(operation, body);
    }
  }

  #send(operation, body) {
    return new Promise((resolve, reject) => {
      const request = http.request({
        socketPath: this.socketPath,
        path: `/api/v1/${operation}`,
        method: 'POST',
        agent: this.agent,
        timeout: this.timeout,
        headers: { 'Content-Type': 'application/json' },
      });
      request.on('timeout', () => request.destroy(new Error(`no answer within ${this.timeout} ms`)));
      request.on('error', reject);
      request.on('response', (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk) => { text += chunk; });
        response.on('error', reject);
        response.on('end', () => {
          try {
            const answer = JSON.parse(text);
            if (response.statusCode !== 200) throw new MaskerError(answer);
            resolve(answer.results);
          } catch (failure) {
            reject(failure);
          }
        });
      });
      request.end(JSON.stringify(body));
    });
  }
}

async function main() {
  const socket = process.env.MASKER_SOCKET;
  if (!socket) throw new Error('MASKER_SOCKET is not set');
  const masker = new Masker(socket);
  try {
    const items = [
      { kind: 'PHONE', value: '415-555-0132' },
      { kind: 'EMAIL', value: 'ann@example.org' },
    ];
    const tokens = (await masker.tokenize(items)).map((result) => checked(result).token);
    items.forEach(({ kind }, at) => console.log(`tokenized ${kind}: ${tokens[at]}`));

    // The values come back byte for byte.
    const values = await masker.rehydrate(tokens);
    values.forEach((result, at) => console.log(`rehydrated ${items[at].kind}: ${checked(result).value}`));

    // An item can fail on its own; the others have their results.
    const [good, bad] = await masker.tokenize([items[0], { kind: 'SHOE_SIZE', value: '42' }]);
    console.log(`the same value has the same token: ${checked(good).token === tokens[0]}`);
    try {
      checked(bad);
    } catch (failure) {
      if (failure.code !== 'kind.unknown') throw failure;
      console.log(`the other item failed: ${failure.code}`);
    }
  } finally {
    masker.close();
  }
}

main().catch((failure) => {
  console.error(`client.mjs: ${failure.message}`);
  process.exitCode = 1;
});
