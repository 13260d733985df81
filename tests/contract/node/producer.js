// Publishes commands, one JSON object a line on standard input, and prints the answer to each.
//
//   CALL_CONTROL_AMQP_URL=amqp://… node producer.js < commands

const { randomUUID } = require("node:crypto");
const { createInterface } = require("node:readline");
const amqp = require("amqplib");

const namespace = process.env.CALL_CONTROL_NAMESPACE;
const commands = `${namespace ? `${namespace}.` : ""}call_control.commands`;

async function main() {
  const connection = await amqp.connect(process.env.CALL_CONTROL_AMQP_URL);
  const channel = await connection.createConfirmChannel();

  // Direct reply-to: answers come to this channel, without a queue of their own.
  const waiting = new Map();
  await channel.consume(
    "amq.rabbitmq.reply-to",
    (answer) => waiting.get(answer.properties.correlationId)?.resolve(answer),
    { noAck: true },
  );
  // A mandatory message that no queue takes comes back, before its confirm.
  channel.on("return", ({ properties }) =>
    waiting.get(properties.messageId)?.reject(new Error(`no queue is bound to ${commands}`)),
  );

  for await (const line of createInterface({ input: process.stdin })) {
    const body = JSON.parse(line);
    const { request_id, network_report } = body.content ?? body;
    // Of a new attempt at the same command, this has to be the same.
    const messageId = randomUUID();
    const answer = new Promise((resolve, reject) => waiting.set(messageId, { resolve, reject }));
    channel.publish(commands, request_id, Buffer.from(JSON.stringify(body)), {
      messageId,
      contentType: "application/json",
      persistent: true,
      mandatory: true,
      replyTo: "amq.rabbitmq.reply-to",
    });
    await channel.waitForConfirms();
    // Nobody answers a network report: it is no command.
    if (!network_report) console.log((await answer).content.toString());
    waiting.delete(messageId);
  }
  await connection.close();
}

main();
