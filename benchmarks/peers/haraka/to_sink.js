'use strict'

// Haraka relays for anyone and sends all to the port of loopback in config/to_sink.

// Nobody is asked for the names of clients, as elsewhere.
exports.hook_lookup_rdns = function (next) {
    next(OK, 'localhost')
}

exports.hook_mail = function (next, connection) {
    connection.relaying = true
    next()
}

exports.hook_rcpt = function (next) {
    next(OK)
}

exports.hook_get_mx = function (next) {
    next(OK, { priority: 0, exchange: '127.0.0.1', port: Number(this.config.get('to_sink')) })
}
